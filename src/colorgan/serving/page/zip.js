// A ZIP file without compression: photos are compressed already.

const TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});
const NAMES_ARE_UTF8 = 0x0800;
const JANUARY_1980 = 0x21; // The first date that ZIP knows; it is not the photo's.

function checksum(bytes) {
  let sum = -1;
  for (const byte of bytes) sum = TABLE[(sum ^ byte) & 255] ^ (sum >>> 8);
  return ~sum >>> 0;
}

// Numbers of [value, bytes], least significant byte first.
const numbers = (...pairs) =>
  Uint8Array.from(pairs.flatMap(([value, bytes]) => [...Array(bytes)].map((_, i) => value >>> (8 * i))));

// Pack files of {name, blob}; a name that is there already gets a number.
export async function zip(files) {
  const parts = [];
  const directory = [];
  const names = new Set();
  let offset = 0;
  for (const file of files) {
    let name = file.name;
    for (let n = 2; names.has(name); n++) name = file.name.replace(/(\.[^.]*)?$/, ` (${n})$1`);
    names.add(name);
    const encoded = new TextEncoder().encode(name);
    const sum = checksum(new Uint8Array(await file.blob.arrayBuffer()));
    const about = [
      [20, 2], [NAMES_ARE_UTF8, 2], [0, 2], [0, 2], [JANUARY_1980, 2],
      [sum, 4], [file.blob.size, 4], [file.blob.size, 4], [encoded.length, 2], [0, 2],
    ];
    const head = numbers([0x04034b50, 4], ...about);
    parts.push(head, encoded, file.blob);
    directory.push(numbers([0x02014b50, 4], [20, 2], ...about, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]), encoded);
    offset += head.length + encoded.length + file.blob.size;
  }
  const length = directory.reduce((sum, part) => sum + part.length, 0);
  const end = numbers(
    [0x06054b50, 4], [0, 2], [0, 2], [files.length, 2], [files.length, 2], [length, 4], [offset, 4], [0, 2],
  );
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
