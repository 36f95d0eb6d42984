"""What can be measured of how a page looks: contrast, what is cut off, what has the focus."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

#: WCAG 2.2, 1.4.3 for text and 1.4.11 for what is no text.
TEXT_CONTRAST, OTHER_CONTRAST = 4.5, 3.0

COLORS = """
const channels = (color) => {
    const found = color.match(/^rgba?\\(([^)]+)\\)$/);
    if (!found) throw new Error(`A color must be rgb() or rgba() (got ${color}).`);
    const [red, green, blue, alpha = 1] = found[1].split(/[ ,/]+/).map(Number);
    return [red, green, blue, alpha];
};
const over = (top, below) =>
    top.slice(0, 3).map((channel, at) => channel * top[3] + below[at] * (1 - top[3]));
const background = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
        const layer = channels(getComputedStyle(each).backgroundColor);
        layers.unshift(layer);
        if (layer[3] === 1) break;
    }
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
};
const luminance = (color) => {
    const [red, green, blue] = color.map((channel) => {
        const part = channel / 255;
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const contrast = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
};
const isSeen = (element) =>
    element.checkVisibility({ opacityProperty: true, visibilityProperty: true })
    && !element.closest(".unseen, noscript");
const textNodes = () => {
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode())
        if (walker.currentNode.data.trim() && isSeen(walker.currentNode.parentElement))
            found.push(walker.currentNode);
    return found;
};
"""

TEXT_CONTRASTS = f"""() => {{{COLORS}
    const fields = [...document.querySelectorAll("input:not([type=hidden])")].filter(isSeen);
    const texts = textNodes().map((node) => [node.data.trim(), node.parentElement]);
    return [...texts, ...fields.map((field) => [field.name, field])].map(([text, element]) => {{
        const below = background(element);
        return [text, contrast(over(channels(getComputedStyle(element).color), below), below)];
    }});
}}"""

BORDER_CONTRASTS = f"""() => {{{COLORS}
    return [...document.querySelectorAll("input:not([type=hidden]), button")].filter(isSeen)
        .map((element) => {{
            const border = channels(getComputedStyle(element).borderTopColor);
            const around = background(element.parentElement);
            return [element.textContent || element.name, contrast(over(border, around), around)];
        }});
}}"""

CUT_OFF = f"""() => {{{COLORS}
    const width = document.documentElement.clientWidth;
    const found = [];
    if (document.scrollingElement.scrollWidth > width)
        found.push(`the page is ${{document.scrollingElement.scrollWidth}} wide`);
    for (const node of textNodes()) {{
        const range = document.createRange();
        range.selectNodeContents(node);
        for (const box of range.getClientRects())
            if (box.left < 0 || box.right > width + .5) found.push(`beside the page: ${{node.data}}`);
    }}
    for (const element of [...document.body.querySelectorAll("*")].filter(isSeen)) {{
        const clips = getComputedStyle(element).overflowX !== "visible";
        if (clips && element.scrollWidth > element.clientWidth + 1)
            found.push(`cut off: ${{element.tagName}} ${{element.textContent || element.value}}`);
    }}
    for (const element of document.querySelectorAll("main :is(a, button, input)")) {{
        if (!isSeen(element)) continue;
        element.scrollIntoView({{ block: "center" }});
        const box = element.getClientRects()[0];
        const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
        if (!element.contains(top)) found.push(`covered: ${{element.textContent || element.name}}`);
        const isInText = element.tagName === "A";
        if (!isInText && Math.min(box.width, box.height) < 24)
            found.push(`too small to press: ${{element.textContent || element.name}}`);
    }}
    scrollTo(0, 0);
    return found;
}}"""

FOCUS = f"""() => {{{COLORS}
    const element = document.activeElement;
    const box = element.getBoundingClientRect();
    const {{ outlineStyle, outlineWidth, outlineColor }} = getComputedStyle(element);
    const around = background(element.parentElement);
    return {{
        name: element.getAttribute("aria-label") || element.labels?.[0]?.textContent.trim()
            || element.textContent.trim(),
        tag: element.tagName,
        outline: outlineStyle === "none" ? 0 : parseFloat(outlineWidth),
        contrast: contrast(over(channels(outlineColor), around), around),
        isInView: box.top >= 0 && box.left >= 0
            && box.bottom <= innerHeight && box.right <= innerWidth,
    }};
}}"""


def poor_contrasts(page: Page) -> list[str]:
    """Return each text of the page that is hard to read, and each border that is hard to see."""
    texts, borders = page.evaluate(TEXT_CONTRASTS), page.evaluate(BORDER_CONTRASTS)
    assert len(texts) > 2
    return [
        f"{ratio:.2f}:1 {text}"
        for found, least in ((texts, TEXT_CONTRAST), (borders, OTHER_CONTRAST))
        for text, ratio in found
        if ratio < least
    ]


def what_is_cut_off(page: Page) -> list[str]:
    """Return what does not fit, overlaps, or is too small to press (WCAG 2.2, 1.4.10 and 2.5.8)."""
    found: list[str] = page.evaluate(CUT_OFF)
    return found


def focus_of(page: Page) -> dict[str, Any]:
    """Return what has the focus, and how that is seen."""
    found: dict[str, Any] = page.evaluate(FOCUS)
    return found
