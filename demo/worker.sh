#!/bin/sh
# A worker in shell: curl for the lock, the sqlite3 program for the number.
#   worker.sh SIDECAR_URL DIRECTORY NAME fenced|unfenced
# In a loop until DIRECTORY/stop exists: take the lock `counter`, read the number, sleep a little,
# write it back plus one. A fenced worker shows its token with every statement.
url=$1 dir=$2 name=$3 check=$4
log=$dir/$name.log

sql() { sqlite3 -bail -cmd '.timeout 5000' "$dir/counter.db" "$1"; }
ask() { curl -sS --noproxy '*' --max-time 20 "$@" 2>&1; }

while [ ! -e "$dir/stop" ]; do
    # A claim id is the holder: a new one for each attempt.
    id=$(cat /proc/sys/kernel/random/uuid)
    answer=$(ask -X PUT "$url/v1/claims/$id" -H 'content-type: application/json' \
        -d '{"lock": "counter", "ttl_ms": 3000, "wait_ms": 5000}')
    case $answer in
        *'"state":"granted"'*) ;;
        *)
            echo "not-granted $(printf %s "$answer" | sed -n 's/.*"code":"\([a-z-]*\)".*/\1/p')" >>"$log"
            sleep 0.2
            continue
            ;;
    esac
    token=$(printf %s "$answer" | sed 's/.*"token":\([0-9]*\).*/\1/')

    if [ "$check" = fenced ]; then
        # The resource keeps the greatest token that it has seen and refuses smaller ones, on reads too:
        # a holder that has read must be safe from the writes of those before it.
        read_it="update counter set token = $token where token < $token; select value from counter where token = $token;"
        where="where token <= $token"
    else
        read_it="select value from counter;"
        where=""
    fi
    value=$(sql "begin immediate; $read_it commit;") || value=
    if [ -z "$value" ]; then
        echo "refused token=$token on-read" >>"$log"
    else
        echo "holding token=$token value=$value" >>"$log"
        if [ -e "$dir/slow.$name" ]; then
            rm "$dir/slow.$name"
            sleep 2
        else
            sleep 0.01
        fi
        written=$(sql "begin immediate; update counter set value = $value + 1 $where; select changes(); commit;")
        case $written in
            1) echo "ack token=$token value=$((value + 1))" >>"$log" ;;
            *) echo "refused token=$token" >>"$log" ;;
        esac
    fi
    ask -X DELETE "$url/v1/claims/$id" >/dev/null
done
