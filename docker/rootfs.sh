#!/bin/sh
# Lays out the image: the binary, exactly the libraries that it loads, a user, and the folders that it may write to.
#   rootfs.sh IN ROOT WRITABLE EPOCH     IN has sidelock and LICENSE; every file gets the time EPOCH
# Runs in the stage `rootfs` of the Dockerfile, on a Debian without anything installed.
set -eu
in=$1 root=$2 writable=$3 epoch=$4
umask 022

mkdir -p "$root/etc" "$root/var/lib/dpkg/status.d" "$root/usr/share/doc/sidelock"
install -m 755 "$in/sidelock" "$root/sidelock"
install -m 644 "$in/LICENSE" "$root/usr/share/doc/sidelock/LICENSE"

# The loader and the libraries, at the paths where the loader looks for them.
loaded=$(ldd "$root/sidelock")
case $loaded in
    *"not found"*) echo "$loaded" >&2; exit 1 ;;
esac
for library in $(echo "$loaded" | grep -o '/[^ ]*'); do
    cp --dereference --parents --preserve=mode "$library" "$root"
    # What scanners read, and what the licences of these libraries ask for.
    package=$(dpkg -S "$library" "/usr$library" 2>/dev/null | head -n 1 | cut -d : -f 1)
    [ -n "$package" ] || { echo "$library belongs to no package" >&2; exit 1; }
    dpkg -s "$package" >"$root/var/lib/dpkg/status.d/$package"
    cp --dereference --parents --preserve=mode "/usr/share/doc/$package/copyright" "$root"
done
cp --dereference --parents --preserve=mode /etc/os-release "$root"

cat >"$root/etc/passwd" <<'END'
root:x:0:0:root:/:/sbin/nologin
nonroot:x:65532:65532:nonroot:/:/sbin/nologin
END
cat >"$root/etc/group" <<'END'
root:x:0:
nonroot:x:65532:
END
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"

# A core's data, a sidecar's state, certificates; /tmp for `sidelock dev`.
mkdir -p "$writable"
mkdir -m 700 "$writable/data" "$writable/state"
mkdir -m 755 "$writable/certs"
mkdir -m 1777 "$writable/tmp"

# Complete? It must run with nothing but this.
chroot "$root" /sidelock version

find "$root" "$writable" -exec touch --no-dereference --date="@$epoch" {} +
