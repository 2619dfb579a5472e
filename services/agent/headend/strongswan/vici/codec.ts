/** The vici wire format (strongSwan, src/libcharon/plugins/vici/README.md): sections, values and lists in packets. */

import { ViciFormatError } from '../../../../../workers/base/errors.ts';
/** A section: text values, lists of text, and sections within. */
export type ViciSection = { [name: string]: string | string[] | ViciSection };

export const Packet = {
  CMD_REQUEST: 0,
  CMD_RESPONSE: 1,
  CMD_UNKNOWN: 2,
  EVENT_REGISTER: 3,
  EVENT_UNREGISTER: 4,
  EVENT_CONFIRM: 5,
  EVENT_UNKNOWN: 6,
  EVENT: 7,
} as const;

const Element = { SECTION_START: 1, SECTION_END: 2, KEY_VALUE: 3, LIST_START: 4, LIST_ITEM: 5, LIST_END: 6 } as const;

/** Longest packet charon sends, bytes. */
const MAX_PACKET = 512 * 1024;

/** Encodes a message's elements. */
export function encodeMessage(section: ViciSection): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of Object.entries(section)) {
    if (typeof value === 'string') parts.push(Buffer.of(Element.KEY_VALUE), shortText(name), longText(value));
    else if (Array.isArray(value)) {
      parts.push(Buffer.of(Element.LIST_START), shortText(name));
      for (const item of value) parts.push(Buffer.of(Element.LIST_ITEM), longText(item));
      parts.push(Buffer.of(Element.LIST_END));
    } else
      parts.push(
        Buffer.of(Element.SECTION_START),
        shortText(name),
        encodeMessage(value),
        Buffer.of(Element.SECTION_END),
      );
  }
  return Buffer.concat(parts);
}

/** Encodes a packet with its length; `name` for requests and registrations. */
export function encodePacket(type: number, name: string | undefined, message: ViciSection = {}): Buffer {
  const body = Buffer.concat([
    Buffer.of(type),
    name === undefined ? Buffer.alloc(0) : shortText(name),
    encodeMessage(message),
  ]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

/** Decodes a message's elements. Throws ViciFormatError. */
export function decodeMessage(bytes: Buffer): ViciSection {
  const root: ViciSection = {};
  const stack: ViciSection[] = [root];
  let list: string[] | undefined;
  let at = 0;
  const text = (lengthBytes: 1 | 2) => {
    if (at + lengthBytes > bytes.length) throw new ViciFormatError('message ends within a length');
    const length = bytes.readUIntBE(at, lengthBytes);
    at += lengthBytes + length;
    if (at > bytes.length) throw new ViciFormatError('message ends within a text');
    return bytes.toString('utf8', at - length, at);
  };
  while (at < bytes.length) {
    const element = bytes[at++];
    const section = stack.at(-1)!;
    if (element === Element.SECTION_START) {
      const name = text(1);
      const inner: ViciSection = {};
      section[name] = inner;
      stack.push(inner);
    } else if (element === Element.SECTION_END) {
      if (stack.length === 1) throw new ViciFormatError('a section ends that never began');
      stack.pop();
    } else if (element === Element.KEY_VALUE) {
      const name = text(1);
      section[name] = text(2);
    } else if (element === Element.LIST_START) {
      list = [];
      section[text(1)] = list;
    } else if (element === Element.LIST_ITEM) {
      if (!list) throw new ViciFormatError('a list item outside a list');
      list.push(text(2));
    } else if (element === Element.LIST_END) list = undefined;
    else throw new ViciFormatError(`element type ${element}`);
  }
  if (stack.length > 1) throw new ViciFormatError('message ends within a section');
  return root;
}

/** Cuts a socket's data into packets. The receiver of a packet may throw ViciFormatError. */
export class PacketReader {
  #received: Buffer = Buffer.alloc(0);
  readonly #onPacket: (type: number, body: Buffer) => void;

  constructor(onPacket: (type: number, body: Buffer) => void) {
    this.#onPacket = onPacket;
  }

  /** False if the data is no packet, or one that could not be read: then the rest cannot be read either. */
  take(bytes: Buffer): boolean {
    this.#received = this.#received.length > 0 ? Buffer.concat([this.#received, bytes]) : bytes;
    while (this.#received.length >= 4) {
      const length = this.#received.readUInt32BE();
      if (length < 1 || length > MAX_PACKET) return false;
      if (this.#received.length < 4 + length) return true;
      const packet = this.#received.subarray(4, 4 + length);
      this.#received = this.#received.subarray(4 + length);
      try {
        this.#onPacket(packet[0]!, packet.subarray(1));
      } catch (error) {
        if (error instanceof ViciFormatError) return false;
        throw error;
      }
    }
    return true;
  }
}

/** Name and message of an EVENT packet's body, type byte excluded. */
export function decodeEvent(body: Buffer): { name: string; message: ViciSection } {
  const length = body[0] ?? 0;
  return { name: body.toString('utf8', 1, 1 + length), message: decodeMessage(body.subarray(1 + length)) };
}

function shortText(text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length > 255) throw new ViciFormatError(`name of ${bytes.length} bytes`);
  return Buffer.concat([Buffer.of(bytes.length), bytes]);
}

function longText(text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length > 0xffff) throw new ViciFormatError(`value of ${bytes.length} bytes`);
  return Buffer.concat([Buffer.of(bytes.length >> 8, bytes.length & 255), bytes]);
}
