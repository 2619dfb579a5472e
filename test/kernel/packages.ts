/** What the tests in the virtual machine need on the host, whose files the virtual machine uses. */

import { skipUnless } from '../requirements.ts';

/** Why the tests cannot run here, or false if they can. Throws in CI, where nothing is skipped. */
export function whySkipped(): string | false {
  const elsewhere = process.platform !== 'linux' || process.arch !== 'x64';
  if (elsewhere && !process.env['CI']) return 'needs Linux on x86-64';
  return skipUnless(
    {
      'qemu-system-x86': ['/usr/bin/qemu-system-x86_64'],
      apt: ['/usr/bin/apt-get', '/usr/bin/dpkg-deb'],
      'busybox-static': ['/usr/bin/busybox'],
      cpio: ['/usr/bin/cpio'],
      kmod: ['/usr/sbin/modprobe', '/usr/sbin/depmod'],
      'strongswan-charon': ['/usr/lib/ipsec/charon', '/usr/lib/ipsec/plugins/libstrongswan-kernel-netlink.so'],
      'libcharon-extra-plugins': ['/usr/lib/ipsec/plugins/libstrongswan-ha.so'],
      'libstrongswan-standard-plugins': ['/usr/lib/ipsec/plugins/libstrongswan-gcm.so'],
      'libstrongswan-extra-plugins': ['/usr/lib/ipsec/plugins/libstrongswan-curve25519.so'],
      iproute2: ['/usr/sbin/ip', '/usr/sbin/tc'],
      'iputils-ping': ['/usr/bin/ping'],
      nftables: ['/usr/sbin/nft'],
      'redis-server': ['/usr/bin/redis-server'],
    },
    { root: false },
  );
}
