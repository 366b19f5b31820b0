// Who may do what: the view that asks for a token, and the sheet where an admin answers devices
// and makes and revokes tokens. A token is typed here once; the browser keeps a cookie that no
// script can read.

import * as api from './api.js';
import { announce, button, h, icon, setText } from './dom.js';
import { confirm, removed } from './cards.js';
import { showPlaylists } from './playlists.js';
import { closeOutside } from './verdict.js';
import { moment } from './words.js';

const ROLES = { player: 'Player: reads what a screen plays', editor: 'Editor: looks after videos, streams and playlists', admin: 'Admin: also says who may do what' };

const by = (id) => document.getElementById(id);

/** Whether somebody has to sign in, and who did. `onin` is called each time somebody may go on. */
export class Access {
  #onin;
  #onout;
  #asking = false;
  #in = false;

  constructor({ onin, onout }) {
    this.#onin = onin;
    this.#onout = onout;
    addEventListener('kinora-signed-out', () => this.check());
  }

  /** The first question, asked until the server answers it. */
  async start() {
    this.#settle(await api.getSession());
  }

  /** Asks the server who this is. Whether the page may go on. */
  async check() {
    if (this.#asking) return false;
    this.#asking = true;
    try {
      this.#settle(await api.getSession());
    } catch {
      // Not reached: whoever lost the connection says so and asks again.
    } finally {
      this.#asking = false;
    }
    return this.#in;
  }

  #settle(session) {
    const was = this.#in;
    this.session = session;
    this.#in = session.role !== null;
    by('sign-in').hidden = this.#in;
    document.body.classList.toggle('signed-out', !this.#in);
    if (this.#in && !was) this.#onin(session);
    if (!this.#in) {
      if (was) this.#onout();
      this.#draw();
    }
  }

  /** The form that takes a token, drawn once. */
  #draw() {
    const box = by('sign-in');
    if (box.firstElementChild) return;
    const token = h('input', { type: 'password', id: 'sign-in-token', autocomplete: 'current-password', required: true, 'aria-describedby': 'sign-in-hint sign-in-wrong' });
    const wrong = h('p', { class: 'failure-text', id: 'sign-in-wrong', role: 'alert' });
    let sending = false;
    const form = h('form', { class: 'frame sign-in', novalidate: true },
      h('i', { class: 'corner', 'aria-hidden': 'true' }),
      h('h2', { text: 'Sign in' }),
      h('div', { class: 'field' },
        h('label', { for: token.id, text: 'Token' }), token,
        h('p', { class: 'quiet', id: 'sign-in-hint' }, 'The server printed an admin’s token when it first started. On its machine, ', h('code', { text: 'kinora token create' }), ' makes others.')),
      wrong,
      h('button', { type: 'submit', class: 'button strong', text: 'Sign in' }));
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      if (sending) return;
      setText(wrong, '');
      if (!token.value.trim()) {
        setText(wrong, 'The token is missing.');
        token.focus();
        return;
      }
      sending = true;
      try {
        const session = await api.signIn(token.value.trim());
        if (session.role === 'player') {
          await api.signOut();
          throw new Error('this token is a screen’s; the page takes an editor’s or an admin’s');
        }
        box.replaceChildren();
        this.#settle(session);
      } catch (error) {
        setText(wrong, `Not signed in: ${error.message}.`);
        token.select();
      } finally {
        sending = false;
      }
    });
    box.replaceChildren(form);
    token.focus();
  }

  /** What stands at the foot of the page for who is signed in. */
  footer() {
    const { needed, role, name } = this.session ?? {};
    return [
      role && role !== 'player' && h('button', { type: 'button', class: 'link', text: 'Playlists', onclick: () => showPlaylists() }),
      role === 'admin' && h('button', { type: 'button', class: 'link', text: 'Screens and tokens', onclick: () => showAccess() }),
      needed && role && h('button', { type: 'button', class: 'link', text: `Sign out ${name}`, onclick: () => this.#signOut() }),
    ].filter(Boolean);
  }

  async #signOut() {
    try {
      await api.signOut();
    } catch (error) {
      announce(`Not signed out: ${error.message}.`);
      return;
    }
    // Nothing of what was seen stays in this tab.
    location.reload();
  }
}

const when = (time) => (time ? moment(time) : 'never');

/** The sheet where an admin answers devices and sees, makes and revokes tokens. */
export function showAccess(typed = '') {
  const sheet = by('access');
  const close = () => sheet.close();
  const list = h('div', { class: 'tokens' });
  const draw = async () => {
    try {
      const tokens = await api.listTokens();
      list.replaceChildren(...tokens.map((token) => row(token, draw)));
      if (!tokens.length) list.replaceChildren(h('p', { class: 'quiet', text: 'None yet.' }));
    } catch (error) {
      list.replaceChildren(h('p', { class: 'failure-text', text: `The tokens cannot be read: ${error.message}.` }));
    }
  };
  sheet.replaceChildren(
    h('header', { class: 'sheet-head' },
      h('div', {}, h('h2', { id: 'access-title', text: 'Screens and tokens' })),
      h('button', { type: 'button', class: 'button bare', 'aria-label': 'Close', onclick: close }, icon('close'))),
    h('div', { class: 'sheet-body' },
      h('h3', { text: 'A device shows a code' }), device(typed, draw),
      h('h3', { text: 'Tokens' }), list,
      h('h3', { text: 'A new token' }), maker(draw)));
  closeOutside(sheet);
  if (!sheet.open) sheet.showModal();
  draw();
}

function row(token, draw) {
  const about = [token.role, token.board, `made ${when(token.created)}`, `last used ${when(token.used)}`].filter(Boolean).join(', ');
  const revoke = () => confirm({
    title: `Revoke the token of ${token.name}?`,
    text: ['Whoever has it is a stranger from then on, and signed out.'],
    yes: 'Revoke', no: 'Keep it', failed: 'Not revoked',
    act: async () => {
      await removed(api.revokeToken(token.id));
      await draw();
    },
  });
  return h('div', { class: 'token' },
    h('div', {}, h('p', { class: 'token-name', text: token.name }), h('p', { class: 'quiet', text: about })),
    button('Revoke', revoke, { kind: 'danger', label: `Revoke ${token.name}` }));
}

/** A field for a code, and what the device that shows it asks for. */
function device(typed, draw) {
  const code = h('input', { type: 'text', id: 'device-code', value: typed, autocomplete: 'off', autocapitalize: 'characters', spellcheck: 'false', maxlength: '12', placeholder: 'BCDF-GHJK' });
  const said = h('p', { role: 'status' });
  const asked = h('div', {});
  const answer = async (allow, name) => {
    try {
      await api.answerDevice(code.value.trim(), allow);
      setText(said, allow ? `${name} gets its token within seconds.` : `${name} was turned away.`);
      asked.replaceChildren();
      code.value = '';
      await draw();
    } catch (error) {
      setText(said, `Not answered: ${error.message}.`);
    }
  };
  const form = h('form', { class: 'field', novalidate: true },
    h('label', { for: code.id, text: 'Code' }),
    h('div', { class: 'beside' }, code, h('button', { type: 'submit', class: 'button', text: 'Look it up' })),
    h('p', { class: 'quiet', text: 'Of a screen that is to play from this server, or of “kinora login”.' }));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    asked.replaceChildren();
    setText(said, '');
    try {
      const found = await api.getDevice(code.value.trim());
      asked.replaceChildren(
        h('p', {}, h('strong', { text: found.name }), ` at ${found.address} asks to be ${found.role}`, found.board && `, a ${found.board}`, `. It asked ${when(found.created)}. Allow it only if that is the device before you.`),
        h('div', { class: 'actions' },
          button('Allow', () => answer(true, found.name), { kind: 'strong' }),
          button('Turn away', () => answer(false, found.name), { kind: 'danger' })));
    } catch (error) {
      setText(said, error.status === 404 ? 'No device waits with this code. Codes are void after a quarter of an hour.' : `Not found: ${error.message}.`);
    }
  });
  if (typed) queueMicrotask(() => form.requestSubmit());
  return h('div', {}, form, said, asked);
}

function maker(draw) {
  const name = h('input', { type: 'text', id: 'token-name', maxlength: '100', autocomplete: 'off', placeholder: 'Anna, or the hall' });
  const role = h('select', { id: 'token-role' }, Object.entries(ROLES).map(([value, label]) => h('option', { value, text: label })));
  const said = h('p', { role: 'status' });
  const form = h('form', { novalidate: true },
    h('div', { class: 'field' }, h('label', { for: name.id, text: 'Whose it is' }), name),
    h('div', { class: 'field' }, h('label', { for: role.id, text: 'What it allows' }), role),
    said,
    h('div', { class: 'actions end' }, h('button', { type: 'submit', class: 'button', text: 'Make it' })));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    try {
      const made = await api.addToken({ name: name.value.trim(), role: role.value });
      said.replaceChildren('Shown this once: ', h('code', { class: 'secret', text: made.secret }));
      name.value = '';
      await draw();
    } catch (error) {
      setText(said, `Not made: ${error.message}.`);
    }
  });
  return form;
}
