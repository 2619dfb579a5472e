/** Authenticated encryption of one message at a time, in place, in memory that is made once. */

/** A cipher that authenticates by itself, or one in CBC mode with an HMAC over header and text (encrypt, then MAC). */
export type AeadShape = {
  /** OpenSSL's name. */
  readonly cipher: string;
  /** OpenSSL's name of the HMAC's hash, or empty. */
  readonly hash: string;
  /** Lengths in bytes; of header and text the longest. */
  readonly key: number;
  readonly integrityKey: number;
  readonly nonce: number;
  readonly header: number;
  readonly text: number;
  readonly tag: number;
};

/** What is filled in before, and taken away after. */
export type AeadParts<Part = Buffer> = {
  readonly key: Part;
  readonly integrityKey: Part;
  readonly nonce: Part;
  /** Authenticated but not encrypted. */
  readonly header: Part;
  /** Plain before sealing and after opening, sealed between. */
  readonly text: Part;
  readonly tag: Part;
};

export type Aead = {
  readonly parts: AeadParts;
  /**
   * Encrypts the text, and writes the tag.
   * @param length of the text, bytes: the first of what there is room for; whole blocks in CBC mode
   * @param headerLength likewise; in CBC mode all of it
   */
  seal(length: number, headerLength: number): void;
  /** Decrypts the text. False if it, header or tag are not authentic. */
  open(length: number, headerLength: number): boolean;
};
