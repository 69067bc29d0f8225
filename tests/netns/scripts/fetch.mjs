// A client of HTTP in Node: fetches one URL and puts the same bytes to another.
//
//     node fetch.mjs FROM TO UNDICI
//
// With UNDICI, the folder of that package, by the proxy of the environment; with "-" by fetch as it is built in.

const [source, target, undici] = process.argv.slice(2);
let fetch = globalThis.fetch;
if (undici !== "-") {
  const { EnvHttpProxyAgent, default: library } = await import(`${undici}/index.js`);
  const Agent = EnvHttpProxyAgent ?? library.EnvHttpProxyAgent;
  (library.setGlobalDispatcher)(new Agent());
  fetch = library.fetch;
}
const got = await fetch(source);
if (!got.ok) throw new Error(`${source}: ${got.status}`);
const body = Buffer.from(await got.arrayBuffer());
const put = await fetch(target, { method: "PUT", body });
if (!put.ok) throw new Error(`${target}: ${put.status}`);
