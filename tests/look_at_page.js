// What a reader would trip over: parts wider than the window, table cells whose words are broken, and text with too little contrast (WCAG 2.1 AA).
// Colours are those that the browser computed, with half-transparent grounds laid over each other.
() => {
  const root = document.documentElement;
  const above = function* (e) { for (let p = e; p; p = p.parentElement) yield p; };
  const scrolls = (e) => [...above(e.parentElement)].some((p) => p !== document.body && p !== root &&
    ["auto", "scroll"].includes(getComputedStyle(p).overflowX));
  const name = (e) => `${e.tagName}.${e.className.baseVal ?? e.className}`;
  const wide = [...document.querySelectorAll("article *")].filter((e) => {
    const box = e.getBoundingClientRect();
    return box.width > 1 && box.right > root.clientWidth + 1 && !e.closest("mjx-assistive-mml") && !scrolls(e);
  }).map(name);
  const thin = [...document.querySelectorAll("article td, article th")].filter((e) => {
    const text = e.textContent.trim();
    const broken = Math.max(...text.split(/[\s/_-]+/).map((word) => word.length)) > 3 * e.clientWidth / 10;
    return broken && e.clientWidth > 0 && !e.closest(".indextable") && !e.querySelector("mjx-container");
  }).map((e) => `${e.textContent.trim().slice(0, 20)} in ${e.clientWidth} px`);

  const parse = (text) => {
    const found = text.match(/[\d.]+/g).map(Number);
    return text.startsWith("rgb") ? [...found.slice(0, 3), found[3] ?? 1] : null;
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const ground = (e) => {
    const layers = [];
    for (const p of above(e)) {
      const style = getComputedStyle(p), colour = parse(style.backgroundColor);
      if (style.backgroundImage.includes("url") || !colour) return null;  // nothing that could be computed
      if (colour[3] > 0) layers.unshift(colour);
      if (colour[3] === 1) break;
    }
    return layers.reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const luminance = (colour) => colour.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + [0.2126, 0.7152, 0.0722][i] * v, 0);
  const weak = {}, texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let read = 0;
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim(), e = texts.currentNode.parentElement;
    if (!text || e.closest("script, style, noscript, template, mjx-assistive-mml")) continue;
    if (!e.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const style = getComputedStyle(e), back = ground(e), colour = parse(style.color);
    if (!back || !colour) continue;
    const opacity = [...above(e)].reduce((product, p) => product * Number(getComputedStyle(p).opacity), 1);
    const front = over([...colour.slice(0, 3), colour[3] * opacity], back);
    const [dark, light] = [luminance(front), luminance(back)].sort((a, b) => a - b);
    const ratio = (light + 0.05) / (dark + 0.05), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    read += 1;
    if (ratio < (large ? 3 : 4.5)) weak[`${name(e)} ${style.color}`] = `${ratio.toFixed(2)}: ${text.slice(0, 30)}`;
  }
  return { overflow: root.scrollWidth - root.clientWidth, wide: wide.slice(0, 5), thin: thin.slice(0, 5), weak, read };
}
