// CIDs of generated content by ipfs-unixfs-importer, in the profile unixfs-v1-2025.
//
// Usage: node cids.mjs SIZE...   prints one line "SIZE CID" for each size in bytes.
//
// The content is that of `content::Pattern` in the Rust tests: chunks of 1 MiB, all of them the
// same xorshift words but for the first word, to which the chunk's number is added.
import { importByteStream } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'

const CHUNK = 1 << 20

function base () {
  const words = new Uint32Array(CHUNK / 4)
  let x = 0x9e3779b9
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    words[i] = x >>> 0
  }
  return words
}

const words = base()
const first = words[0]

function * content (size) {
  for (let chunk = 0; chunk * CHUNK < size; chunk++) {
    const copy = words.slice()
    copy[0] = (first + chunk) >>> 0
    yield new Uint8Array(copy.buffer, 0, Math.min(CHUNK, size - chunk * CHUNK))
  }
}

// The blocks are not looked at, only their names.
const nowhere = { put: async (cid) => cid }

for (const size of process.argv.slice(2)) {
  const { cid } = await importByteStream(content(Number(size)), nowhere, {
    cidVersion: 1,
    rawLeaves: true,
    reduceSingleLeafToSelf: true,
    chunker: fixedSize({ chunkSize: CHUNK }),
    layout: balanced({ maxChildrenPerNode: 1024 })
  })
  console.log(size, cid.toString())
}
