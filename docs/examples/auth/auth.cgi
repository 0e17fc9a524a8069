#!/bin/sh
# An auth server as a CGI script. A line of "users" is a login, a space and a password, both as they arrive:
# control characters, spaces and "%" as %HH, so that there is one space in it and no line end.

answer() {
    printf '%s\r\n' "$@" ''
    exit
}

case $HTTP_AUTH_PROTOCOL in
    imap) port=10143 ;;
    pop3) port=10110 ;;
    smtp) port=10025 ;;
esac

if [ "$HTTP_AUTH_METHOD" = plain ] && grep -Fqx -e "$HTTP_AUTH_USER $HTTP_AUTH_PASS" users; then
    answer 'Auth-Status: OK' 'Auth-Server: 127.0.0.1' "Auth-Port: $port"
fi
answer 'Auth-Status: Invalid login or password' 'Auth-Wait: 1'
