#!/bin/sh
# Makes a CA, a certificate a process, and a vault key, for a trial: make-certificates.sh FOLDER DOMAIN KIND/NAME[,NAME...] ...
# for example: make-certificates.sh certificates example.org node/node-1,IP:10.0.0.5 headend/hub-1 operator/act/noc
# Each gets NAME.pem and NAME.key with the SPIFFE ID spiffe://DOMAIN/KIND/NAME. What is there already stays. Needs openssl.
set -eu
out=$1 domain=$2
shift 2
days=825
umask 077
mkdir -p "$out"
cd "$out"
new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
[ -f ca.pem ] || openssl req -x509 $new -days 3650 -subj "/CN=DPD offload CA" -keyout ca.key -out ca.pem 2>/dev/null
[ -f vault.key ] || openssl rand -base64 32 > vault.key
for process in "$@"; do
  identity=${process%%,*}
  name=${identity##*/}
  more=${process#"$identity"}
  [ ! -f "$name.pem" ] || continue
  openssl req -new $new -subj / -keyout "$name.key" -out "$name.csr" \
    -addext "subjectAltName=URI:spiffe://$domain/$identity,DNS:$name,DNS:localhost,IP:127.0.0.1$more" 2>/dev/null
  openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days $days -copy_extensions copy -out "$name.pem" 2>/dev/null
  rm "$name.csr"
done
chmod 644 ./*.pem
