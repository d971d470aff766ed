/**
 * Loads the TypeScript module of a Worker. Its name is not written where Deno sees it beforehand:
 * Deno would check the types of all of it anew for every Worker that starts.
 *
 * @param {string} name Of a module beside this one that sets `onmessage`.
 */
export function load(name) {
  const early = [];
  globalThis.onmessage = (event) => early.push(event);
  import(new URL(name, import.meta.url).href).then(() => {
    for (const event of early) globalThis.onmessage(event);
  });
}
