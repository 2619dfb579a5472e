/**
 * Faults that a test has to catch: what is changed, and which tests must fail. Each has been in the code, or would cost a user a tunnel.
 */

export type Mutation = {
  /** What the fault is. */
  readonly fault: string;
  readonly file: string;
  /** Text that occurs exactly once in the file, and its replacement. */
  readonly from: string;
  readonly to: string;
  /** Test files, one of which must fail. */
  readonly tests: readonly string[];
};

const MACHINE = ['test/workers/liveness/machine.test.ts'];
const SHARD = ['test/workers/shard/shard.test.ts', 'test/workers/shard/intake.test.ts'];
const FRONT = ['test/workers/front/front.test.ts'];
const PATH = ['test/workers/path/probe-path.test.ts', 'test/workers/path/guise.test.ts'];
const STORE = ['test/services/store/shard/shard-store.test.ts', 'test/services/store/shard/failover-store.test.ts'];
const STRONGSWAN = 'test/services/agent/headend/strongswan';

export const MUTATIONS: readonly Mutation[] = [
  {
    fault: 'an SA with a message id of its daemon is watched, and ends the thread',
    file: 'workers/sa/watchable.ts',
    from: 'if (nextMessageId > MAX_FIRST_ID)',
    to: 'if (false)',
    tests: SHARD,
  },
  {
    fault: 'an upsert is stored as it came, however it is encoded',
    file: 'services/node/api/headend/upsert-bytes.ts',
    from: '!changed && isPlainUpsert(request) ? cut(request)',
    to: '!changed && request.length > 0 ? cut(request)',
    tests: ['test/services/node/api/headend/upsert-bytes.test.ts'],
  },
  {
    fault: 'everybody on the network is asked',
    file: 'workers/base/reach.ts',
    from: "first === 0 || first >= MULTICAST ? 'nobody'",
    to: "first === 0 ? 'nobody'",
    tests: ['test/workers/base/reach.test.ts'],
  },
  {
    fault: 'junk on the channel ends a node',
    file: 'services/store/cluster/bus.ts',
    from: "if (!isObject(message)) return refuse('no object of JSON');",
    to: '',
    tests: ['test/services/store/cluster/bus.test.ts'],
  },
  {
    fault: 'datagrams of many lengths fill the memory',
    file: 'workers/net/send-buffers.ts',
    from: 'if (this.#lengths === MOST_LENGTHS)',
    to: 'if (false)',
    tests: PATH,
  },
  {
    fault: 'an attempt of a failover begins though another has begun',
    file: 'services/store/scripts/failover/advance-failovers.lua',
    from: "and (redis.call('HGET', KEYS[1], id) or '0') == attempt\n",
    to: '\n',
    tests: STORE,
  },
  {
    fault: 'an SA that has a verdict gets a second one',
    file: 'services/store/scripts/shard/append-verdicts.lua',
    from: 'if not known[n] and not given[spi] then',
    to: 'if not given[spi] then',
    tests: STORE,
  },
  {
    fault: 'an SA gets two verdicts of one batch',
    file: 'services/store/scripts/shard/append-verdicts.lua',
    from: 'if not known[n] and not given[spi] then',
    to: 'if not known[n] then',
    tests: STORE,
  },
  {
    fault: 'what a node held counts as held by the next',
    file: 'services/agent/registration.ts',
    from: "      entry.held = undefined;\n      entry.state = 'settled';\n",
    to: "      entry.state = 'settled';\n",
    tests: ['test/services/agent/registration.test.ts', 'test/services/agent/uplink.test.ts'],
  },
  {
    fault: 'a dead SA is alive again after a takeover',
    file: 'workers/shard/shard.ts',
    from: 'if (sa.dead) this.#machine.restoreDead(handle);\n    else if',
    to: 'if',
    tests: SHARD,
  },
  {
    fault: 'an agent forgets which id the node would go on with',
    file: 'services/agent/headend/strongswan/sa-book.ts',
    from: '      nextMid,\n',
    to: '      nextMid: 0,\n',
    tests: [`${STRONGSWAN}/sa-book.test.ts`],
  },
  {
    fault: 'a way is proven by canaries that only went out',
    file: 'workers/liveness/interlock.ts',
    from: ' && nowMs < this.#until[2 * way + 1]!',
    to: '',
    tests: ['test/workers/liveness/interlock.test.ts', ...PATH],
  },
  {
    fault: 'a peer that has never answered is judged',
    file: 'workers/liveness/machine.ts',
    from: '    const { unprovenMs } = this.#policy(handle);\n',
    to: '    return true;\n    const { unprovenMs } = this.#policy(handle);\n',
    tests: MACHINE,
  },
  {
    fault: 'evidence in a gap says that nobody asked before it',
    file: 'workers/takeover/id-uncertainty.ts',
    from: '&& heardAgeMs >= gapMs ',
    to: '',
    tests: SHARD,
  },
  {
    fault: 'canaries from before the headend was elsewhere count',
    file: 'workers/path/probe-path.ts',
    from: ' || sentAt < this.#backAt',
    to: '',
    tests: PATH,
  },
  {
    fault: 'the daemon gets the answer to a probe for the answer to its request',
    file: 'workers/front/request.ts',
    from: 'return written !== undefined && !this.doubted;',
    to: 'return true;',
    tests: FRONT,
  },
  {
    fault: 'a request of the daemon is sent under an id that is in use',
    file: 'workers/shard/shard.ts',
    from: 'this.#sessions.uncertainty[handle] === 0 && !this.#sessions.busy(handle)',
    to: 'true',
    tests: FRONT,
  },
  {
    fault: 'a message without its marker has another UDP checksum',
    file: 'workers/ikev2/header.ts',
    from: '((word >>> 16) - order)',
    to: '(word >>> 16)',
    tests: PATH,
  },
  {
    fault: 'an SA is parked in the middle of an exchange',
    file: 'services/agent/headend/strongswan/parking.ts',
    from: 'return established && !busy;',
    to: 'return established;',
    tests: [`${STRONGSWAN}/parking.test.ts`],
  },
  {
    fault: 'an SA that may be parked is rekeyed',
    file: 'services/agent/headend/strongswan/feed-gaps.ts',
    from: 'if (parked || unknown',
    to: 'if (unknown',
    tests: [`${STRONGSWAN}/feed-gaps.test.ts`],
  },
  {
    fault: 'an SA is given back with an id that nobody knows',
    file: 'services/agent/headend/strongswan/give-back.ts',
    from: '(released.get(record.spi) ?? 0) > 0',
    to: 'released.has(record.spi)',
    tests: [`${STRONGSWAN}/give-back.test.ts`],
  },
  {
    fault: 'a verdict is applied each time that it comes',
    file: 'services/agent/verdict-inbox.ts',
    from: 'if (known) this.#acknowledge(verdict, known);\n    else if',
    to: 'if',
    tests: ['test/services/agent/verdict-inbox.test.ts'],
  },
  {
    fault: 'a storm holds nothing back',
    file: 'services/node/verdicts/storm-guard.ts',
    from: 'silent >= count && silent >= share',
    to: 'silent < 0 && silent >= share',
    tests: ['test/services/node/verdicts/storm-guard.test.ts'],
  },
  {
    fault: 'an identity of another trust domain counts',
    file: 'services/node/access/access.ts',
    from: 'names.spiffe !== undefined && names.spiffe.domain === this.#domain',
    to: 'names.spiffe !== undefined',
    tests: ['test/security/identity.test.ts'],
  },
  {
    fault: 'a headend has another one’s stream',
    file: 'services/node/api/headend/connect-shard.ts',
    from: "      authorize('connectShard', this.#caller, message.value.headend);\n",
    to: '',
    tests: ['test/security/identity.test.ts'],
  },
  {
    fault: 'a second hub of a name puts the first out',
    file: 'services/node/shard/hosted-shard.ts',
    from: 'return takeOver || !instance ||',
    to: 'return takeOver || instance ||',
    tests: ['test/operation/names.test.ts'],
  },
  {
    fault: 'an SA that changed while its keys are sealed anew becomes what it was',
    file: 'services/store/scripts/shard/replace-records.lua',
    from: "if redis.call('HGET', KEYS[2], ARGV[at]) == ARGV[at + 1] then",
    to: 'if true then',
    tests: STORE,
  },
  {
    fault: 'anybody who writes to Redis is one of the cluster',
    file: 'services/store/record-mac.ts',
    from: 'return difference === 0;',
    to: 'return true;',
    tests: ['test/services/store/record-mac.test.ts'],
  },
  {
    fault: 'an acknowledgement of a number that was not asked is a sign of life',
    file: 'workers/ikev1/exchange.ts',
    from: 'if (content !== Content.ACK || !asked)',
    to: 'if (content !== Content.ACK)',
    tests: ['test/workers/ikev1/exchange.test.ts'],
  },
  {
    fault: 'a muted peer is judged',
    file: 'workers/liveness/machine.ts',
    from: 'if (!this.#proven(handle) || muted) {',
    to: 'if (!this.#proven(handle)) {',
    tests: MACHINE,
  },
  {
    fault: 'a peer that is only told of is torn down',
    file: 'services/agent/headend/strongswan/apply-verdict.ts',
    from: 'if (action === Action.NOTIFY || (!asked && onlyTells(policy)))',
    to: 'if (false)',
    tests: [`${STRONGSWAN}/apply-verdict.test.ts`],
  },
  {
    fault: 'a tunnel to somewhere else is taken for the standby',
    file: 'services/agent/headend/strongswan/apply-verdict.ts',
    from: 'sa.remote.address === address &&',
    to: '',
    tests: [`${STRONGSWAN}/apply-verdict.test.ts`],
  },
];
