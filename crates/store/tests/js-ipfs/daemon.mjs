// A daemon that speaks Kubo's RPC, without any network: `node daemon.mjs REPOSITORY` prints the
// port of its RPC on a line, and runs until it is killed.
import { Daemon } from 'ipfs-daemon'

const local = '/ip4/127.0.0.1/tcp/0'
const daemon = new Daemon({
  repo: process.argv[2],
  offline: true,
  silent: true,
  init: { emptyRepo: true, algorithm: 'Ed25519' },
  config: {
    Addresses: { Swarm: [], Delegates: [], API: local, Gateway: local },
    Bootstrap: [],
    Discovery: { MDNS: { Enabled: false }, webRTCStar: { Enabled: false } },
  },
})
await daemon.start()
console.log(daemon._httpApi._apiServers[0].info.port)
