/**
 * Renders the part of Go's templates that our chart uses, as `helm template` would: helm itself is in no registry that tests have. What
 * it does not know is an error, so that the chart stays within this part.
 */

type Scope = { readonly dot: unknown; readonly root: unknown; readonly variables: ReadonlyMap<string, unknown> };
type Piece = { readonly text: string } | { readonly action: string };

const FUNCTIONS: Readonly<Record<string, (...args: never[]) => unknown>> = {
  quote: (value: unknown) => JSON.stringify(String(value)),
  toJson: (value: unknown) => JSON.stringify(value),
  default: (fallback: unknown, value: unknown) => (truthy(value) ? value : fallback),
  add: (...numbers: number[]) => numbers.reduce((sum, n) => sum + n, 0),
  sub: (a: number, b: number) => a - b,
  div: (a: number, b: number) => Math.trunc(a / b),
  printf: (format: string, ...values: unknown[]) =>
    values.reduce<string>((text, value) => text.replace('%s', String(value)), format),
};

/** The text with its actions done. @param root .Values, .Release and .Chart */
export function render(template: string, root: unknown): string {
  const pieces = split(template);
  const { text, next } = renderBlock(pieces, 0, { dot: root, root, variables: new Map() });
  if (next !== pieces.length) throw new Error('an end too many');
  return text;
}

/** Text and actions in turn; a dash trims white space on its side. */
function split(template: string): Piece[] {
  const pieces: Piece[] = [];
  let text = '';
  let from = 0;
  for (const match of template.matchAll(/\{\{(-?)\s*([\s\S]*?)\s*(-?)\}\}/g)) {
    text += template.slice(from, match.index);
    pieces.push({ text: match[1] ? text.trimEnd() : text }, { action: match[2]! });
    from = match.index + match[0].length;
    text = '';
    if (match[3]) while (/\s/.test(template[from] ?? '')) from++;
  }
  return [...pieces, { text: template.slice(from) }];
}

/** Renders up to the end, or the else, of the block that begins at `at`. */
function renderBlock(pieces: readonly Piece[], at: number, scope: Scope): { text: string; next: number } {
  let text = '';
  for (let n = at; n < pieces.length; n++) {
    const piece = pieces[n]!;
    if ('text' in piece) {
      text += piece.text;
      continue;
    }
    const [keyword, rest] = [piece.action.split(/\s/, 1)[0]!, piece.action.replace(/^\S+\s*/, '')];
    if (keyword === 'end' || keyword === 'else') return { text, next: n };
    if (keyword !== 'if' && keyword !== 'range') {
      text += String(evaluate(piece.action, scope));
      continue;
    }
    const { otherwise, end } = findEnd(pieces, n + 1);
    const block = (inner: Scope) => renderBlock(pieces, n + 1, inner).text;
    if (keyword === 'range')
      text += scopesOf(rest, scope)
        .map((inner) => block(inner))
        .join('');
    else if (truthy(evaluate(rest, scope))) text += block(scope);
    else if (otherwise !== undefined) text += renderBlock(pieces, otherwise + 1, scope).text;
    n = end;
  }
  return { text, next: pieces.length };
}

/** Where the block that begins at `at` ends, and where its else is. */
function findEnd(pieces: readonly Piece[], at: number): { otherwise: number | undefined; end: number } {
  let depth = 0;
  let otherwise: number | undefined;
  for (let n = at; n < pieces.length; n++) {
    const piece = pieces[n]!;
    if ('text' in piece) continue;
    const [keyword] = piece.action.split(/\s/, 1);
    if (keyword === 'if' || keyword === 'range') depth++;
    else if (keyword === 'else' && depth === 0) otherwise = n;
    else if (keyword === 'end' && depth-- === 0) return { otherwise, end: n };
  }
  throw new Error('a block without an end');
}

/** One scope for each item of a range. */
function scopesOf(rest: string, scope: Scope): Scope[] {
  const [, key, value, source] = /^(?:\$(\w+),\s*\$(\w+)\s*:=\s*)?(.*)$/.exec(rest)!;
  return Object.entries((evaluate(source!, scope) ?? []) as object).map(([name, item]) => ({
    ...scope,
    dot: item,
    variables: key ? new Map([...scope.variables, [key, name], [value!, item]]) : scope.variables,
  }));
}

/** A pipeline: the value of each part is the last argument of the next. */
function evaluate(pipeline: string, scope: Scope): unknown {
  let value: unknown;
  splitOutside(pipeline, '|').forEach((part, n) => {
    const [head, ...rest] = splitOutside(part.trim(), ' ').filter((word) => word !== '');
    const args = rest.map((word) => operand(word, scope));
    const call = FUNCTIONS[head!];
    if (call) value = call(...([...args, ...(n > 0 ? [value] : [])] as never[]));
    else if (rest.length === 0 && n === 0) value = operand(head!, scope);
    else throw new Error(`no such function: ${head}`);
  });
  if (value === undefined) throw new Error(`nothing there: ${pipeline}`);
  return value;
}

function operand(word: string, { dot, root, variables }: Scope): unknown {
  const inner = /^\((.*)\)$/.exec(word);
  if (inner) return evaluate(inner[1]!, { dot, root, variables });
  if (/^"[^"]*"$/.test(word)) return word.slice(1, -1);
  if (/^\d+$/.test(word)) return Number(word);
  if (word === '.') return dot;
  if (/^\$\w+$/.test(word)) return variables.get(word.slice(1));
  if (!/^(\.\w+)+$/.test(word)) throw new Error(`not understood: ${word}`);
  return word
    .slice(1)
    .split('.')
    .reduce<unknown>((value, name) => (value as Record<string, unknown>)?.[name], dot);
}

/** Splits at a character that is in no parentheses and no quotes. */
function splitOutside(text: string, at: string): string[] {
  const parts = [''];
  let depth = 0;
  let quoted = false;
  for (const char of text) {
    if (char === '"') quoted = !quoted;
    if (!quoted) depth += char === '(' ? 1 : char === ')' ? -1 : 0;
    if (char === at && depth === 0 && !quoted) parts.push('');
    else parts[parts.length - 1] += char;
  }
  return parts;
}

function truthy(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}
