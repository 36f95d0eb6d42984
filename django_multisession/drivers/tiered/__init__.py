"""A fast store in front of a durable one: `driver` has the verbs."""
