/**
 * All counters of a shard, in one table. `npm run generate` makes from it the fields of ShardCounters (operator.proto),
 * their metrics and their documentation (docs/metrics.md).
 */

/** Instruments that shards feed. A counter only grows; a gauge is the present value. */
export const SHARD_METRICS = {
  'dpd.peers': { kind: 'gauge', unit: '{sa}', description: 'SAs held, by state' },
  'dpd.path.vouched': { kind: 'gauge', unit: '1', description: '1 if the path of the shard is vouched for' },
  'dpd.probes.behind': { kind: 'gauge', unit: 'ms', description: 'how late probes are for want of budget' },
  'dpd.verdicts.waiting': { kind: 'gauge', unit: '{verdict}', description: 'verdicts that wait for Redis' },
  'dpd.verdicts.held': { kind: 'gauge', unit: '{verdict}', description: 'verdicts held back' },
  'dpd.probes': { kind: 'counter', unit: '{probe}', description: 'probes, by what became of them' },
  'dpd.replies.dropped': { kind: 'counter', unit: '{reply}', description: 'replies that proved nothing, by reason' },
  'dpd.verdicts': { kind: 'counter', unit: '{verdict}', description: 'verdicts decided' },
  'dpd.verdicts.told': { kind: 'counter', unit: '{verdict}', description: 'verdicts that are told and not applied' },
  'dpd.verdicts.returned': { kind: 'counter', unit: '{sa}', description: 'peers heard from after their verdict' },
  'dpd.front': {
    kind: 'counter',
    unit: '{message}',
    description: "messages of the headend's own daemon that went through the shard",
  },
  'dpd.guard': { kind: 'counter', unit: '{action}', description: 'what guards against false death did, by guard' },
} as const satisfies Record<string, { kind: 'gauge' | 'counter'; unit: string; description: string }>;

/** One thing that is counted or measured. */
type Row = {
  /** Number of its field in ShardCounters. */
  readonly field: number;
  /** A counter is 64 bits wide on the API, a gauge 32; a flag is true or false. */
  readonly kind: 'counter' | 'gauge' | 'flag';
  /** Which thread counts: the shard's, or the main thread. */
  readonly by: 'thread' | 'main';
  readonly help: string;
  /** Its metric, and the attribute that tells it from others of the same name. */
  readonly metric?: keyof typeof SHARD_METRICS;
  readonly attribute?: readonly [name: string, value: string];
};

const COUNTERS = {
  peers: { field: 4, kind: 'gauge', by: 'thread', help: 'SAs held.' },
  alive: state(5, 'alive', 'SAs heard from in time.'),
  probing: state(6, 'probing', 'SAs probed that have not answered yet.'),
  quiet: state(7, 'quiet', 'SAs ON_DEMAND with nothing sent since they were last heard.'),
  blocked: state(8, 'blocked', 'SAs that want a probe which may not leave.'),
  dead: state(9, 'dead', 'SAs with a verdict.'),
  unwatched: state(10, 'unwatched', 'SAs whose policy is DISABLED.'),
  pathVouched: {
    field: 11,
    kind: 'flag',
    by: 'thread',
    help: 'whether the path is vouched for.',
    metric: 'dpd.path.vouched',
  },
  probesSent: probes(12, 'sent', 'Probes sent.'),
  retransmissions: probes(13, 'repeated', 'Of these, bit-for-bit retransmissions.'),
  probesAnswered: probes(14, 'answered', 'Probes answered.'),
  probesDelegated: { field: 15, kind: 'counter', by: 'thread', help: 'Probes handed to the headend.' },
  probesSuppressed: probes(16, 'spared', 'Probes due but suppressed because evidence had come.'),
  probesBlocked: guard(
    17,
    'interlock',
    'thread',
    'Probes due but not sent for want of a vouched path, or of a parked SA.',
  ),
  sendErrors: probes(18, 'failed', 'Probes that could not leave the socket.'),
  verdicts: { field: 19, kind: 'counter', by: 'thread', help: 'Verdicts decided.', metric: 'dpd.verdicts' },
  evidenceHeard: { field: 20, kind: 'counter', by: 'thread', help: 'Handles heard from, as the headend reports.' },
  evidenceSent: { field: 21, kind: 'counter', by: 'thread', help: 'Handles sent to, as the headend reports.' },
  evidenceUnknown: { field: 22, kind: 'counter', by: 'thread', help: 'Handles reported that are not in use here.' },
  repliesMalformed: dropped(23, 'malformed', 'Replies dropped: not of the shape of an answer.'),
  repliesUnknownSa: dropped(24, 'unknown_sa', 'Replies dropped: no such SA here.'),
  repliesForged: dropped(25, 'forged', 'Replies dropped: authentication failed.'),
  repliesReplayed: dropped(26, 'replayed', 'Replies dropped: not the message id asked for.'),
  canariesSent: { field: 27, kind: 'counter', by: 'thread', help: 'Canaries sent.' },
  vouchers: { field: 28, kind: 'counter', by: 'thread', help: 'Canaries that were seen leaving as they should.' },
  held: state(29, 'held', 'SAs whose verdict is held back.'),
  verdictsHeld: guard(30, 'storm_held', 'main', 'Verdicts held back.'),
  holdsCancelled: guard(31, 'storm_taken_back', 'main', 'Of these, taken back because the peer answered or went.'),
  holdsReleased: guard(32, 'storm_released', 'main', 'Of these, given.'),
  holdsDropped: guard(33, 'storm_dropped', 'main', 'Of these, dropped.'),
  suspicionsBlinded: guard(34, 'blind_time', 'thread', 'Suspicions that were given blind time back.'),
  verdictsWaiting: {
    field: 35,
    kind: 'gauge',
    by: 'main',
    help: 'verdicts that wait for Redis.',
    metric: 'dpd.verdicts.waiting',
  },
  behindMs: {
    field: 36,
    kind: 'gauge',
    by: 'thread',
    help: "how late probes are because the node's budget for probes is spent, in ms.",
    metric: 'dpd.probes.behind',
  },
  repliesUnread: dropped(37, 'unread', "Replies dropped by the kernel, as the socket's queue was full."),
  verdictsHeldNow: {
    field: 38,
    kind: 'gauge',
    by: 'main',
    help: 'verdicts held back.',
    metric: 'dpd.verdicts.held',
  },
  unproven: state(
    39,
    'unproven',
    'SAs that have never answered a probe: they are asked, and not judged by their silence.',
  ),
  suspicionsUnproven: guard(
    40,
    'unproven',
    'thread',
    'Suspicions that ended without a verdict, as the peer had never answered a probe here.',
  ),
  leftOut: {
    field: 44,
    kind: 'gauge',
    by: 'main',
    help: 'SAs that the headend has and the cluster does not watch, as it says.',
    metric: 'dpd.peers',
    attribute: ['state', 'left_out'],
  },
  requestsTranslated: front(
    41,
    'translated',
    "Requests of the headend's daemon sent on under their SA's next message id.",
  ),
  requestsAnswered: front(42, 'answered', 'Of these, answered.'),
  probesOneWay: probes(60, 'one_way', 'Probes that were not answered by a peer whose traffic came in.'),
  suspicionsMuted: guard(63, 'muted', 'thread', 'Suspicions that ended without a verdict, as the peer was muted.'),
  verdictsTold: {
    field: 61,
    kind: 'counter',
    by: 'thread',
    help: 'Of the verdicts, those that are only told: the policy says NOTIFY or observe.',
    metric: 'dpd.verdicts.told',
  },
  deadReturned: {
    field: 62,
    kind: 'counter',
    by: 'thread',
    help: 'Peers that were heard from after their verdict.',
    metric: 'dpd.verdicts.returned',
  },
  handedOver: front(43, 'handed_over', "Messages for the headend's daemon, handed to it as they came."),
} as const satisfies Record<string, Row>;

export type CounterName = keyof typeof COUNTERS;
/** What a shard's thread counts. */
export type ThreadCounter = {
  [Name in CounterName]: (typeof COUNTERS)[Name]['by'] extends 'thread' ? Name : never;
}[CounterName];
/** Values of all that a thread counts; flags are 0 or 1. */
export type ThreadCounts = Record<ThreadCounter, number>;
export type ShardCounts = Record<CounterName, number>;

/** Every row with its name. */
export const COUNTER_ROWS = Object.entries(COUNTERS) as (readonly [CounterName, Row])[];

function state<const F extends number, const V extends string>(field: F, value: V, help: string) {
  return { field, kind: 'gauge', by: 'thread', help, metric: 'dpd.peers', attribute: ['state', value] } as const;
}

function probes<const F extends number, const V extends string>(field: F, value: V, help: string) {
  return { field, kind: 'counter', by: 'thread', help, metric: 'dpd.probes', attribute: ['result', value] } as const;
}

function dropped<const F extends number, const V extends string>(field: F, value: V, help: string) {
  const attribute = ['reason', value] as const;
  return { field, kind: 'counter', by: 'thread', help, metric: 'dpd.replies.dropped', attribute } as const;
}

function front<const F extends number, const V extends string>(field: F, value: V, help: string) {
  return { field, kind: 'counter', by: 'thread', help, metric: 'dpd.front', attribute: ['result', value] } as const;
}

function guard<const B extends Row['by']>(field: number, value: string, by: B, help: string) {
  return { field, kind: 'counter', by, help, metric: 'dpd.guard', attribute: ['guard', value] } as const;
}
