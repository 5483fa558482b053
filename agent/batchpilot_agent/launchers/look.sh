# Read by `bash -s` on a host: tell which processes live, given as pid:starttime; with a signal, send it to those.
signal=$1
shift
for process in "$@"; do
    pid=${process%%:*} state=gone
    if stat=$(cat "/proc/$pid/stat" 2>/dev/null); then
        read -r -a fields <<<"${stat##*) }"
        [ "${fields[19]}" = "${process##*:}" ] && [ "${fields[0]}" != Z ] && state=alive
    fi
    [ "$state" = alive ] && [ -n "$signal" ] && kill -s "$signal" "$pid"
    echo "$process $state"
done
exit 0
