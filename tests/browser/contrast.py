"""The contrast of a page's texts, as WCAG 2.2 computes it."""

COLOURS = """
const opaque = colour => !/rgba\\(.*, 0\\)$|transparent/.test(colour);
const pairs = new Map();
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  if (!own || element.tagName === "SCRIPT" || !element.offsetParent) continue;
  let behind = element;
  while (behind.parentElement && !opaque(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
  const pair = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
  pairs.set(pair.join(), pair);
}
return [...pairs.values()];
"""
"""JavaScript: every pair of a text's colour and the colour behind it."""


def ratio(text: str, behind: str) -> float:
    """Return the contrast of two colours as CSS tells them: ``rgb(1, 2, 3)``."""
    one, other = sorted((_luminance(text), _luminance(behind)), reverse=True)
    return (one + 0.05) / (other + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = (float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3])
    return 0.2126 * _linear(red) + 0.7152 * _linear(green) + 0.0722 * _linear(blue)


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)
