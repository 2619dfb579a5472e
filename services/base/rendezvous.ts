/** Rendezvous hashing (Thaler and Ravishankar 1998): all processes rank the nodes for a key in the same way, without communication. */

/** The candidates, the best one for the key first. A candidate that joins or leaves moves only its own keys. */
export function rank<T>(key: string, candidates: readonly T[], nameOf: (candidate: T) => string): T[] {
  return candidates
    .map((candidate) => ({ candidate, weight: hash(`${key}|${nameOf(candidate)}`) }))
    .sort((a, b) => b.weight - a.weight)
    .map(({ candidate }) => candidate);
}

/** FNV-1a, finished as MurmurHash3 does, so that names which differ in the last letter spread. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let n = 0; n < text.length; n++) h = Math.imul(h ^ text.charCodeAt(n), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
