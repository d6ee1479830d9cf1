#!/usr/bin/env bash
# Certificates for tests and trials: a CA of its own, one server and one client certificate, 30 days each.
# Not for production: whoever can read ca.key can make certificates that this server and its clients accept.
set -euo pipefail

usage="usage: $(basename "$0") FOLDER [NAME...]
Writes FOLDER with ca, server and client, each .crt and .key. The server's certificate is for localhost, 127.0.0.1, ::1
and triton, and for each NAME: a host name, or an IP address. For tests only."

folder=${1:-}
if [[ -z $folder || $folder == -* ]]; then
  printf '%s\n' "$usage" >&2
  exit 2
fi
shift
if [[ -e $folder ]]; then
  printf 'Error: %s exists; nothing is overwritten. Remove it, or name another folder.\n' "$folder" >&2
  exit 1
fi
command -v openssl >/dev/null || { printf 'Error: openssl is missing; install it.\n' >&2; exit 1; }

names="DNS:localhost,DNS:triton,IP:127.0.0.1,IP:::1"
for name in "$@"; do
  if [[ $name =~ ^[0-9.]+$ || $name == *:* ]]; then names+=",IP:$name"; else names+=",DNS:$name"; fi
done

umask 077 # keys are for their owner alone
mkdir -p "$(dirname "$folder")"
staged=$(mktemp -d "$(dirname "$folder")/.certificates-XXXXXX")
trap 'rm -rf "$staged"' EXIT

certificate() { # NAME, then arguments of openssl req
  local file=$staged/$1
  shift
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 30 \
    -keyout "$file.key" -out "$file.crt" "$@" 2>"$staged/log" || { cat "$staged/log" >&2; exit 1; }
}
signed=(-CA "$staged/ca.crt" -CAkey "$staged/ca.key" -addext basicConstraints=critical,CA:FALSE
  -addext keyUsage=critical,digitalSignature)
certificate ca -subj "/CN=recserve test CA" -addext keyUsage=critical,keyCertSign,cRLSign
certificate server -subj "/CN=recserve test server" "${signed[@]}" \
  -addext extendedKeyUsage=serverAuth -addext "subjectAltName=$names"
certificate client -subj "/CN=recserve test client" "${signed[@]}" -addext extendedKeyUsage=clientAuth

rm -f "$staged/log"
chmod 644 "$staged"/*.crt
chmod 755 "$staged"
mv -T "$staged" "$folder"
trap - EXIT
printf 'Test certificates (30 days, not for production) in %s: ca, server (%s), client\n' "$folder" "$names"
