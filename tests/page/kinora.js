// Starts the real `kinora serve` that KINORA_BIN names, on a free port and a data folder
// of its own, and ends it.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export const BIN = process.env.KINORA_BIN;

export class Kinora {
  #child = null;
  #talk = [];
  /** What it said on standard error. */
  get said() {
    return this.#talk.join('');
  }

  /** `options` are further arguments of `kinora serve`. */
  static async start(...options) {
    const server = new Kinora();
    server.data = await mkdtemp(join(tmpdir(), 'kinora-data-'));
    server.options = options;
    await server.up('127.0.0.1:0');
    return server;
  }

  /** Starts it again where it was, or at `address`. */
  async up(address = new URL(this.url).host) {
    const child = spawn(BIN, ['serve', '--data', this.data, '--listen', address, ...this.options], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    child.stderr.on('data', (text) => this.#talk.push(text));
    this.url = await new Promise((resolve, reject) => {
      createInterface({ input: child.stdout }).once('line', (line) => {
        const found = /https?:\/\/\S+/.exec(line);
        if (found) resolve(`${found[0]}/`);
        else reject(new Error(`kinora serve said: ${line}`));
      });
      child.once('exit', (code) => reject(new Error(`kinora serve ended with ${code}: ${this.#talk.join('')}`)));
      child.once('error', reject);
    });
  }

  async #end(signal) {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
  }

  /** The end that no program can prepare for. */
  kill() {
    return this.#end('SIGKILL');
  }

  async close() {
    await this.#end('SIGTERM');
    await rm(this.data, { recursive: true });
  }

  async json(path) {
    const response = await fetch(new URL(path, this.url));
    return response.json();
  }
}
