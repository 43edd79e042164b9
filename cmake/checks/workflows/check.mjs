// node check.mjs TREE MODULES [FILE...]: lints the workflows of TREE/.github/workflows, or FILE..., with actionlint.
// MODULES has it: a package with actionlint as WebAssembly, of which only the two files are used. Prints each finding.
// Exits with 1 if there are any.
import { readFile, readdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, relative, resolve } from "node:path";

const [tree, modules, ...given] = process.argv.slice(2).map((path) => resolve(path));
const actionlint = join(modules, "node_modules", "@tktco", "node-actionlint");

// Runners that GitHub has and this actionlint does not know yet.
const knownRunners = ["windows-11-arm"];

// actionlint's Go code calls this for an error of its own, such as a file that is no YAML.
globalThis.throwError = (message) => {
  throw new Error(message);
};
createRequire(import.meta.url)(join(actionlint, "wasm_exec.js"));
const go = new globalThis.Go();
const { instance } = await WebAssembly.instantiate(await readFile(join(actionlint, "main.wasm")), go.importObject);
go.run(instance);

const folder = join(tree, ".github", "workflows");
const files = given.length > 0 ? given : (await readdir(folder)).filter((name) => /\.ya?ml$/.test(name)).map((name) => join(folder, name));
if (files.length === 0) throw new Error(`no workflows in ${folder}`);

let findings = 0;
for (const file of files) {
  for (const { message, line, column, kind } of await globalThis.runActionlint(await readFile(file, "utf8"), file)) {
    if (!message || knownRunners.some((runner) => message.startsWith(`label "${runner}" is unknown`))) continue;
    console.log(`${relative(tree, file)}:${line}:${column}: ${message} [${kind}]`);
    ++findings;
  }
}
console.log(`workflows: ${files.length} files, ${findings} findings`);
process.exit(findings > 0 ? 1 : 0);
