// node check.mjs TREE MODULES: runs textlint over the documents and the source comments of TREE. MODULES is the folder
// with the installed node_modules. Prints each finding as file:line:column and exits with 1 if there are any.
//
// words.yml lists the words to avoid. exceptions.json of the tree lists what is allowed nevertheless, each with a reason.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, extname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const kMaxWords = 25;
const kExceptions = "cmake/checks/prose/exceptions.json";

const here = dirname(fileURLToPath(import.meta.url));
const [tree, modules] = process.argv.slice(2).map((path) => resolve(path));
const require = createRequire(join(modules, "package.json"));
const { TextlintKernel } = require("@textlint/kernel");
const { splitAST, SentenceSplitterSyntax } = require("sentence-splitter");
const withDefault = (module) => module.default ?? module;

// ---- the files ----------------------------------------------------------------------------------------

const kDocuments = [".md"];
const kSlashes = [".h", ".cpp", ".c", ".cs"];
const kHashes = [".cmake", ".sh"];

// Lists the files below a folder, relative to the tree.
function filesBelow(folder) {
  const path = join(tree, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(tree, join(entry.parentPath ?? entry.path, entry.name)).replaceAll("\\", "/"));
}

function commentMark(file) {
  if (kSlashes.includes(extname(file))) return "//";
  if (kHashes.includes(extname(file)) || basename(file) === "CMakeLists.txt") return "#";
  return null;
}

const top = readdirSync(tree, { withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => entry.name);
const files = [...top, ...["docs", "src", "include", "tests", "cmake", ".github", ".ci"].flatMap(filesBelow)]
  .filter((file) => kDocuments.includes(extname(file)) || commentMark(file))
  .sort();

// ---- comments -----------------------------------------------------------------------------------------

// A string, a number with its separators, a character or a comment. A mark inside of another token begins no comment.
const kTokens =
  /\b\d(?:[\w.]|'(?=\w))*|R"([^()\s\\]{0,16})\([^]*?\)\1"|"(?:[^"\\\n]|\\[^])*"|'(?:[^'\\\n]|\\.)+'|\/\/.*|\/\*[^]*?\*\//g;

// Returns the comments of a C++ or C# source: {line, column, text, trailing}, one for each line of a comment.
function slashComments(source) {
  const comments = [];
  for (const match of source.matchAll(kTokens)) {
    const comment = match[0];
    if (!comment.startsWith("//") && !comment.startsWith("/*")) continue;
    const before = source.slice(0, match.index);
    const start = before.length - (before.lastIndexOf("\n") + 1);
    const first = before.split("\n").length;
    const trailing = before.slice(before.length - start).trim() !== "";
    comment.split("\n").forEach((line, index) => {
      const mark = /^\s*(\/\/[/!]?<?|\/\*+|\*\/|\*(?= |$))?/.exec(line)[0];
      const text = line.slice(mark.length).replace(/\s*\*\/$/, "");
      comments.push({ line: first + index, column: (index === 0 ? start : 0) + mark.length, text, trailing });
    });
  }
  return comments;
}

// Returns the comments of a CMake or shell script: a mark and a space. A mark within quotes begins none.
function hashComments(source) {
  return source.split("\n").flatMap((line, index) => {
    const match = /^((?:"(?:[^"\\]|\\.)*"|'[^']*'|[^"'])*?(?<!\S))#(?=\s|$)/.exec(line);
    if (!match) return [];
    const column = match[0].length;
    return [{ line: index + 1, column, text: line.slice(column), trailing: match[1].trim() !== "" }];
  });
}

// Stands for the stars of pointers, which mean emphasis in Markdown.
const kStar = "\u2217";

// Turns comments into Markdown. Returns its text and, for each of its lines, the line and the column of the source.
//
// Each block of comment lines is a paragraph. A line that is indented, an item of a list or the row of a table, is a
// paragraph too; lines below it that are indented further belong to it.
function markdownOf(comments) {
  const lines = [];
  const origin = [];
  const add = (text, comment, indent) => {
    lines.push(text);
    origin.push({ line: comment.line, shift: comment.column + indent });
  };
  let last = null;
  let indentOfFirst = 0;
  let hangs = false;
  for (const comment of comments) {
    const text = comment.text.trim();
    const indent = comment.text.length - comment.text.trimStart().length;
    if (text === "" || /^[-=*#]{3,}/.test(text) || text.startsWith("NOLINT") || text.startsWith("clang-format")) {
      last = null;
      continue;
    }
    const adjacent = last !== null && comment.line === last.line + 1 && !comment.trailing &&
      (!last.trailing || comment.column === last.column);
    const isItem = /^(?:[-*+]|\d+[.)])\s/.test(text);
    const isRow = indent > 1 && /\S {2,}\S/.test(text);
    const joins = adjacent && !isItem && !isRow && (hangs ? indent > indentOfFirst : indent <= indentOfFirst);
    if (!joins) {
      if (lines.length > 0) add("", comment, 0);
      indentOfFirst = indent;
      hangs = isItem || (indent > 1 && !comment.trailing);
    }
    const item = isItem ? /^\S+\s+/.exec(text)[0].length : 0;
    const plain = text.slice(item).replace(/^[#>+=`~|]/, ".").replaceAll("*", kStar);
    add(plain, comment, indent + item);
    last = comment;
  }
  return { text: lines.join("\n") + "\n", origin };
}

// ---- the linter ---------------------------------------------------------------------------------------

// A rule of textlint that counts the words of each sentence; code in backquotes is one word. textlint's own rule for
// sentences, textlint-rule-sentence-length, counts characters.
function sentenceOfTooManyWords(context) {
  const { Syntax, RuleError, report, locator } = context;
  const textOf = (node) => {
    if (node.type === Syntax.Code) return "code";
    const text = node.children?.map(textOf).join("") ?? node.value ?? "";
    return (node.type === Syntax.Strong || node.type === Syntax.Emphasis) && /[.?!]$/.test(text) ? `${text}\0` : text;
  };
  const wordsIn = (text) => text.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word)).length;
  // The splitter takes "12. " for the number of an item and "ms. " for a title, and goes past a stop that is bold. A
  // sentence ends at each of them here.
  const endMissedBySplitter = /\0|(?<=(?:\d|\bms)\.)\s+(?=\p{Lu})/u;
  const check = (node) => {
    if (wordsIn(textOf(node)) <= kMaxWords) return;  // the splitter is slow
    for (const sentence of splitAST(node).children) {
      if (sentence.type !== SentenceSplitterSyntax.Sentence) continue;
      const count = Math.max(...textOf(sentence).split(endMissedBySplitter).map(wordsIn));
      if (count <= kMaxWords) continue;
      const start = sentence.range[0] - node.range[0];
      report(node, new RuleError(`${count} words`, { padding: locator.range([start, start + 1]) }));
    }
  };
  return { [Syntax.Paragraph]: check, [Syntax.TableCell]: check };
}

const kernel = new TextlintKernel();
const options = {
  ext: ".md",
  plugins: [{ pluginId: "markdown", plugin: withDefault(require("@textlint/textlint-plugin-markdown")) }],
  rules: [
    {
      ruleId: `a sentence of more than ${kMaxWords} words`,
      rule: sentenceOfTooManyWords,
    },
    {
      ruleId: "a word to avoid",
      rule: withDefault(require("textlint-rule-prh")),
      options: { rulePaths: [join(here, "words.yml")], checkEmphasis: true, checkLink: true, checkBlockQuote: true },
    },
  ],
};

const exceptionsFile = join(tree, kExceptions);
const exceptions = existsSync(exceptionsFile)
  ? JSON.parse(readFileSync(exceptionsFile, "utf8"))
  : [];
for (const exception of exceptions) {
  if (!exception.file || !exception.text || !exception.reason) {
    throw new Error(`${kExceptions}: an exception needs file, text and reason: ${JSON.stringify(exception)}`);
  }
}

let findings = 0;
for (const file of files) {
  const source = readFileSync(join(tree, file), "utf8").replaceAll("\r\n", "\n");
  const mark = commentMark(file);
  let text = source;
  let origin = null;
  if (mark) ({ text, origin } = markdownOf(mark === "//" ? slashComments(source) : hashComments(source)));
  text = text.replace(/\[([^\][()]*,[^\][()]*)\)/g, "[$1]");  // the splitter expects brackets in pairs

  const { messages } = await kernel.lintText(text, { ...options, filePath: join(tree, file) });
  const lines = text.split("\n");
  for (const message of messages) {
    const from = message.loc.start;
    const paragraph = lines.slice(from.line - 1, from.line + 8).join(" ").slice(from.column - 1).replaceAll(kStar, "*");
    const exception = exceptions.find((it) => it.file === file && paragraph.startsWith(it.text));
    if (exception) {
      exception.used = true;
      continue;
    }
    const line = origin ? origin[from.line - 1].line : from.line;
    const column = from.column + (origin ? origin[from.line - 1].shift : 0);
    console.log(`${file}:${line}:${column}: ${message.ruleId}: ${message.message}: "${paragraph.slice(0, 60)}..."`);
    ++findings;
  }
}
for (const exception of exceptions.filter((it) => !it.used)) {
  console.log(`${kExceptions}: "${exception.text}" is not in ${exception.file} any more: remove the exception`);
  ++findings;
}

if (files.length === 0) throw new Error(`no documents or sources below ${tree}`);
console.log(findings ? `prose: ${findings} findings` : `prose: ${files.length} files are in plain English`);
process.exit(findings ? 1 : 0);
