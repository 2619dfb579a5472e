/** Numbers of a message's fields by name, for readers that make no whole message. */
export function fieldNumbers<Name extends string>(schema: {
  readonly field: Record<Name, { readonly number: number }>;
}): Readonly<Record<Name, number>> {
  const entries = Object.entries(schema.field) as [Name, { readonly number: number }][];
  return Object.fromEntries(entries.map(([name, { number }]) => [name, number])) as Record<Name, number>;
}
