/**
 * To be imported first, in a process of its own: what the library is loaded with is a `setInterval()` that
 * never calls back. So no wait looks by itself, twice a second, for what has not woken it: what is not
 * woken hangs.
 *
 * @module
 */

const start = globalThis.setInterval;

globalThis.setInterval = (() => start(() => {}, 2 ** 30)) as unknown as typeof setInterval;
