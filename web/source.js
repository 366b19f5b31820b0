// The form that asks for a stream of a live source: `kinora stream add` for who has a page and
// no terminal. What the server alone can know (a name that is taken) it says; what can be seen
// here is said before anything is sent, at the field that it is about.

import * as api from './api.js';
import { button, h, icon, setText } from './dom.js';
import { closeOutside } from './verdict.js';

const SCHEMES = /^(rtmps?|rtsps?|srt):\/\/./i;
const NAME = /^[A-Za-z0-9_.-]{1,64}$/;
/** How far viewers can go back, in seconds; all of it where nothing is said. */
const WINDOWS = [['To the beginning', ''], ['1 minute', '60'], ['10 minutes', '600'], ['1 hour', '3600'], ['1 day', '86400']];

/** Opens the form; `onadded` gets the stream that the server made of it. */
export function askForSource(onadded) {
  const sheet = document.getElementById('source');
  const close = () => sheet.close();
  const text = { type: 'text', required: true, autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false' };
  const address = h('input', { ...text, id: 'source-address', inputmode: 'url', placeholder: 'rtsp://camera.lan/stream1', 'aria-describedby': 'source-address-hint source-address-wrong' });
  const name = h('input', { ...text, id: 'source-name', maxlength: '64', placeholder: 'gate', 'aria-describedby': 'source-name-hint source-name-wrong' });
  const back = h('select', { id: 'source-back', 'aria-describedby': 'source-back-hint' }, WINDOWS.map(([label, value]) => h('option', { value, text: label })));
  const low = h('input', { type: 'checkbox', id: 'source-low', 'aria-describedby': 'source-low-hint' });
  const hint = h('span');
  const wrong = h('p', { class: 'failure-text', role: 'alert' });
  const add = h('button', { type: 'submit', class: 'button strong', text: 'Add' });

  const field = (input, label, ...about) => h('div', { class: 'field' },
    h('label', { for: input.id, text: label }), input,
    h('p', { class: 'field-wrong', id: `${input.id}-wrong` }),
    h('p', { class: 'quiet', id: `${input.id}-hint` }, ...about));
  const mark = (input, why) => {
    input.setAttribute('aria-invalid', String(Boolean(why)));
    setText(form.querySelector(`#${input.id}-wrong`), why);
    return !why;
  };
  const called = () => setText(hint, `/streams/${NAME.test(name.value.trim()) ? name.value.trim() : '…'}/master.m3u8`);
  const checks = [
    [address, (value) => (SCHEMES.test(value) ? '' : 'It begins with rtsp://, rtsps://, rtmp://, rtmps:// or srt://.')],
    [name, (value) => (NAME.test(value) ? '' : 'Letters, digits, - _ and . only, 64 at most.')],
  ];

  let sending = false;
  const send = async () => {
    if (sending) return;
    setText(wrong, '');
    const bad = checks.filter(([input, check]) => !mark(input, check(input.value.trim())));
    if (bad.length) {
      bad[0][0].focus();
      return;
    }
    // A button that is disabled loses the focus.
    sending = true;
    try {
      const added = await api.addStream({ name: name.value.trim(), source: address.value.trim(), window_s: back.value ? Number(back.value) : null, low_latency: low.checked });
      close();
      onadded(added);
    } catch (error) {
      if (error.status === 409) {
        mark(name, `${name.value.trim()} is another stream’s name. Take a new one, or remove that stream first.`);
        name.focus();
      } else setText(wrong, `Not added: ${error.message}. ${error.status ? 'Change it and try again.' : 'Try again in a moment.'}`);
    } finally {
      sending = false;
    }
  };
  const form = h('form', { class: 'sheet-body', novalidate: true },
    field(address, 'Address', 'Of a camera or an encoder that the server can reach: RTSP, RTMP or SRT. User names, passwords and keys in it are not shown again.'),
    field(name, 'Name', 'Players find the stream at ', hint, '.'),
    field(back, 'Viewers can go back', 'What is older is removed. To the beginning, everything is kept on the server’s disk until the stream is removed.'),
    h('div', { class: 'field tick' }, low, h('label', { for: low.id, text: 'Low latency' }), h('p', { class: 'quiet', id: 'source-low-hint', text: 'Players get parts of half a second and are about two seconds behind, instead of twelve.' })),
    wrong,
    h('div', { class: 'actions end' }, button('Cancel', close), add));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    send();
  });
  for (const [input] of checks) input.addEventListener('input', () => input.getAttribute('aria-invalid') === 'true' && mark(input, ''));
  name.addEventListener('input', called);
  called();
  sheet.replaceChildren(
    h('header', { class: 'sheet-head' },
      h('div', {}, h('h2', { id: 'source-title', text: 'Add a live source' })),
      h('button', { type: 'button', class: 'button bare', 'aria-label': 'Close', onclick: close }, icon('close'))),
    form);
  closeOutside(sheet);
  sheet.showModal();
  address.focus();
}
