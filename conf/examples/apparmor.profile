# SPDX-License-Identifier: Apache-2.0
# AppArmor: what a profile of httpd must allow for mod_comet.  Debian's profile
# includes this file as /etc/apparmor.d/local/usr.sbin.apache2; let any other
# profile include it.
#
#     cp apparmor.profile /etc/apparmor.d/local/usr.sbin.apache2
#     apparmor_parser -r /etc/apparmor.d/usr.sbin.apache2

/usr/lib/apache2/modules/mod_comet.so mr,
/usr/share/mod_comet/** r,

# The database with its log.  k is needed because SQLite locks parts of the files.
# r on the folder is needed to watch it, and to sync it to the disk.
/var/lib/apache2/comet/ r,
/var/lib/apache2/comet/** rwk,

# the keys of tokens (CometTokenKey)
/etc/apache2/comet.key r,
