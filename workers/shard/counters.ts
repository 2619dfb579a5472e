/**
 * All counters of a shard, in one table. `npm run generate` makes from it the fields of ShardCounters (operator.proto),
 * their metrics and their documentation (docs/metrics.md).
 */

/** Instruments that shards feed. A counter only grows; a gauge is the present value. Attributes tell apart what never overlaps. */
export const SHARD_METRICS = {
  'dpd.peers': { kind: 'gauge', unit: '{sa}', description: 'SAs held, by state' },
  'dpd.peers.left_out': {
    kind: 'gauge',
    unit: '{sa}',
    description: 'SAs that the headend has and the cluster does not watch',
  },
  'dpd.path.vouched': { kind: 'gauge', unit: '{path}', description: '1 if the path of the shard is vouched for' },
  'dpd.canaries.sent': { kind: 'counter', unit: '{canary}', description: 'canaries sent' },
  'dpd.canaries.returned': { kind: 'counter', unit: '{canary}', description: 'canaries that came home' },
  'dpd.probes.behind': { kind: 'gauge', unit: 's', description: 'how late probes are for want of budget' },
  'dpd.probes.sent': {
    kind: 'counter',
    unit: '{probe}',
    description: 'probes sent, the first of an exchange or repeated',
  },
  'dpd.probes.answered': { kind: 'counter', unit: '{probe}', description: 'probes answered' },
  'dpd.probes.one_way': {
    kind: 'counter',
    unit: '{probe}',
    description: 'probes not answered by a peer whose traffic came in',
  },
  'dpd.probes.delegated': { kind: 'counter', unit: '{probe}', description: 'probes handed to the headend' },
  'dpd.probes.unsent': {
    kind: 'counter',
    unit: '{probe}',
    description: 'probes that were due and not sent, by reason',
  },
  'dpd.evidence': { kind: 'counter', unit: '{sa}', description: 'SAs with traffic, as the headend reports' },
  'dpd.replies.dropped': { kind: 'counter', unit: '{reply}', description: 'replies that proved nothing, by reason' },
  'dpd.verdicts': { kind: 'counter', unit: '{verdict}', description: 'verdicts decided' },
  'dpd.verdicts.told': { kind: 'counter', unit: '{verdict}', description: 'verdicts that are told and not applied' },
  'dpd.verdicts.returned': { kind: 'counter', unit: '{sa}', description: 'peers heard from after their verdict' },
  'dpd.verdicts.waiting': { kind: 'gauge', unit: '{verdict}', description: 'verdicts that wait for Redis' },
  'dpd.verdicts.held': { kind: 'gauge', unit: '{verdict}', description: 'verdicts held back now' },
  'dpd.holds.begun': {
    kind: 'counter',
    unit: '{verdict}',
    description: 'verdicts held back because too many came at once',
  },
  'dpd.holds.ended': {
    kind: 'counter',
    unit: '{verdict}',
    description: 'verdicts no longer held back, by what became of them',
  },
  'dpd.suspicions.guarded': {
    kind: 'counter',
    unit: '{suspicion}',
    description: 'suspicions that a guard against false death delayed or ended',
  },
  'dpd.front.requests': {
    kind: 'counter',
    unit: '{message}',
    description: "requests of the headend's own daemon that went through the shard",
  },
  'dpd.front.answers': { kind: 'counter', unit: '{message}', description: 'answers to these' },
  'dpd.front.handed_over': {
    kind: 'counter',
    unit: '{message}',
    description: "messages for the headend's own daemon, handed to it as they came",
  },
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
  /** A counter that is part of this one and has a series of its own: the metric has the rest. */
  readonly without?: string;
  /** Factor from the counter's unit to the metric's. */
  readonly scale?: number;
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
  probesSent: { ...sent(12, 'first', 'Probes sent.'), without: 'retransmissions' },
  retransmissions: sent(13, 'repeated', 'Of these, bit-for-bit retransmissions.'),
  probesAnswered: plain(14, 'dpd.probes.answered', 'Probes answered.'),
  probesDelegated: plain(15, 'dpd.probes.delegated', 'Probes handed to the headend.'),
  probesSuppressed: unsent(16, 'heard', 'Probes due but suppressed because evidence had come.'),
  probesBlocked: unsent(17, 'blocked', 'Probes due but not sent for want of a vouched path, or of a parked SA.'),
  sendErrors: unsent(18, 'failed', 'Probes that could not leave the socket.'),
  verdicts: plain(19, 'dpd.verdicts', 'Verdicts decided.'),
  evidenceHeard: evidence(20, 'heard', 'Handles heard from, as the headend reports.'),
  evidenceSent: evidence(21, 'sent', 'Handles sent to, as the headend reports.'),
  evidenceUnknown: { field: 22, kind: 'counter', by: 'thread', help: 'Handles reported that are not in use here.' },
  repliesMalformed: dropped(23, 'malformed', 'Replies dropped: not of the shape of an answer.'),
  repliesUnknownSa: dropped(24, 'unknown_sa', 'Replies dropped: no such SA here.'),
  repliesForged: dropped(25, 'forged', 'Replies dropped: authentication failed.'),
  repliesReplayed: dropped(26, 'replayed', 'Replies dropped: not the message id asked for.'),
  canariesSent: plain(27, 'dpd.canaries.sent', 'Canaries sent.'),
  vouchers: plain(28, 'dpd.canaries.returned', 'Canaries that were seen leaving as they should.'),
  held: state(29, 'held', 'SAs whose verdict is held back.'),
  verdictsHeld: { field: 30, kind: 'counter', by: 'main', help: 'Verdicts held back.', metric: 'dpd.holds.begun' },
  holdsCancelled: hold(31, 'taken_back', 'Of these, taken back because the peer answered or went.'),
  holdsReleased: hold(32, 'released', 'Of these, given.'),
  holdsDropped: hold(33, 'dropped', 'Of these, dropped.'),
  suspicionsBlinded: guard(34, 'blind_time', 'Suspicions that were given blind time back.'),
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
    scale: 0.001,
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
    'Suspicions that ended without a verdict, as the peer had never answered a probe here.',
  ),
  leftOut: {
    field: 44,
    kind: 'gauge',
    by: 'main',
    help: 'SAs that the headend has and the cluster does not watch, as it says.',
    metric: 'dpd.peers.left_out',
  },
  requestsTranslated: plain(
    41,
    'dpd.front.requests',
    "Requests of the headend's daemon sent on under their SA's next message id.",
  ),
  requestsAnswered: plain(42, 'dpd.front.answers', 'Of these, answered.'),
  probesOneWay: plain(60, 'dpd.probes.one_way', 'Probes that were not answered by a peer whose traffic came in.'),
  suspicionsMuted: guard(63, 'muted', 'Suspicions that ended without a verdict, as the peer was muted.'),
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
  handedOver: plain(43, 'dpd.front.handed_over', "Messages for the headend's daemon, handed to it as they came."),
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

/** What the metric of a row has now. */
export function metricValue(name: CounterName, counts: ShardCounts): number {
  const { without, scale = 1 }: Row = COUNTERS[name];
  return (counts[name] - (without ? counts[without as CounterName] : 0)) * scale;
}

function state<const F extends number, const V extends string>(field: F, value: V, help: string) {
  return {
    field,
    kind: 'gauge',
    by: 'thread',
    help,
    metric: 'dpd.peers',
    attribute: ['dpd.peer.state', value],
  } as const;
}

function plain<const F extends number, const M extends keyof typeof SHARD_METRICS>(field: F, metric: M, help: string) {
  return { field, kind: 'counter', by: 'thread', help, metric } as const;
}

function sent<const F extends number, const V extends string>(field: F, value: V, help: string) {
  return { ...plain(field, 'dpd.probes.sent', help), attribute: ['dpd.probe.transmission', value] } as const;
}

function unsent<const F extends number, const V extends string>(field: F, value: V, help: string) {
  return { ...plain(field, 'dpd.probes.unsent', help), attribute: ['dpd.probe.unsent.reason', value] } as const;
}

function evidence<const F extends number, const V extends string>(field: F, value: V, help: string) {
  return { ...plain(field, 'dpd.evidence', help), attribute: ['dpd.evidence.direction', value] } as const;
}

function dropped<const F extends number, const V extends string>(field: F, value: V, help: string) {
  return { ...plain(field, 'dpd.replies.dropped', help), attribute: ['dpd.reply.drop.reason', value] } as const;
}

function hold<const F extends number, const V extends string>(field: F, value: V, help: string) {
  const attribute = ['dpd.hold.outcome', value] as const;
  return { field, kind: 'counter', by: 'main', help, metric: 'dpd.holds.ended', attribute } as const;
}

function guard<const F extends number, const V extends string>(field: F, value: V, help: string) {
  return { ...plain(field, 'dpd.suspicions.guarded', help), attribute: ['dpd.guard', value] } as const;
}
