import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SealedKeys } from '../../../workers/keys/sealed-keys.ts';
import { packPage } from '../../../workers/sa/sa-page.ts';

const HANDLES = 12;

test('property: keys come out once, as they went in last, the oldest first', () => {
  const command = fc.oneof(
    fc.record({
      op: fc.constant('page' as const),
      handles: fc.array(fc.nat(HANDLES - 1), { minLength: 1, maxLength: 5 }),
    }),
    fc.record({ op: fc.constant('take' as const), handle: fc.nat(HANDLES) }),
    fc.record({ op: fc.constant('oldest' as const) }),
  );
  fc.assert(
    fc.property(fc.array(command, { maxLength: 40 }), (commands) => {
      const sealed = new SealedKeys();
      const model = new Map<number, string>();
      let count = 0;
      for (const command of commands) {
        if (command.op === 'page') {
          const rows = command.handles.map((handle) => ({
            handle,
            site: 0,
            dead: false,
            sa: Buffer.from('sa'),
            keys: Buffer.from(`keys ${++count}`),
          }));
          const page = packPage(rows);
          rows.forEach(({ handle, keys }, n) => {
            sealed.add(handle, page, n);
            model.delete(handle);
            model.set(handle, String(keys));
          });
        } else if (command.op === 'take') {
          const keys = sealed.remove(command.handle);
          assert.equal(keys && Buffer.from(keys).toString(), model.get(command.handle));
          model.delete(command.handle);
        } else assert.equal(sealed.oldest(), model.keys().next().value ?? -1);
        assert.equal(sealed.empty, model.size === 0);
      }
    }),
  );
});
