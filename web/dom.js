// Writes elements. Whatever a person or a file named goes in as text, never as
// markup, so a file called `<img src=x>` is shown and nothing more. Styles are set
// through properties because the page's content policy forbids style attributes.

/** An element with a class, properties or attributes, and children. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'class') element.className = value;
    else if (name === 'text') element.textContent = value;
    else if (name === 'data') Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A picture from the sprite in index.html; decoration only, so hidden from readers. */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  svg.setAttribute('class', 'i');
  svg.setAttribute('aria-hidden', 'true');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Sets text only when it differs, so that screen readers and selections are left in peace. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A bar from 0 to 1; null means that work goes on but nobody knows how much is left. */
export class Bar {
  constructor(label) {
    this.fill = h('span');
    this.element = h('div', { class: 'bar', role: 'progressbar', 'aria-label': label, 'aria-valuemin': '0', 'aria-valuemax': '100' }, this.fill);
  }

  set(fraction) {
    this.element.classList.toggle('unknown', fraction === null);
    if (fraction === null) {
      this.element.removeAttribute('aria-valuenow');
      this.fill.style.transform = '';
      return;
    }
    const part = Math.min(1, Math.max(0, fraction));
    this.element.setAttribute('aria-valuenow', String(Math.floor(part * 100)));
    this.fill.style.transform = `scaleX(${part})`;
  }
}

let announced = '';

/** Says something to screen readers when they next have a moment. */
export function announce(text) {
  if (text === announced) return;
  announced = text;
  document.getElementById('announce').textContent = text;
}

/** A button with text, and a picture when one helps to find it. */
export function button(text, onclick, { kind = '', picture = null, label = null } = {}) {
  return h('button', { type: 'button', class: `button ${kind}`.trim(), onclick, 'aria-label': label }, picture && icon(picture), text);
}
