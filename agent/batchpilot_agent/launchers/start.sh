# Read by `bash -s` on a host: start an agent that survives the connection, unless the host is busy.
# Arguments: most load a core, "" for any; directory to start in; file for what the agent says; command.
# Lines of the user's setup and environment come before these.
set -u
most_load=$1 work_dir=$2 output=$3
shift 3
if [ -n "$most_load" ]; then
    read -r load _ </proc/loadavg
    cores=$(nproc)
    if awk -v load="$load" -v cores="$cores" -v most="$most_load" 'BEGIN { exit !(load / cores > most) }'; then
        echo "busy load $load on $cores cores"
        exit 0
    fi
fi
cd -- "$work_dir" || exit 66
umask 077
setsid nohup "$@" >>"$output" 2>&1 </dev/null &
stat=$(cat /proc/$!/stat)
read -r -a fields <<<"${stat##*) }"
echo "started $! ${fields[19]}"
