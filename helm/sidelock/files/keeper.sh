#!/bin/sh
# Keeps the cell's members in step with the StatefulSet, and the keys of tokens current.
#
#   keeper.sh settle       for ever: adds new nodes, removes those that are scaled away, deletes their volumes
#   keeper.sh shrink N     once: removes all nodes above N, before the StatefulSet shrinks to N
#   keeper.sh tokens       once: fetches the issuer and the keys of service account tokens
#
# The cell takes changes at its leader only, from there or with the nodes' certificate: every command runs inside of the
# leader's pod, which has both. The cell refuses what could not commit, and a change is tried again until it is done:
# doing one twice is harmless.
#
# Needs: kubectl, timeout, awk, NAMESPACE, STATEFULSET, SELECTOR (of its pods); for tokens TOKENS (a config map), TOKENS_EVERY (0: never),
# TOKENS_LABELS. PERIOD: seconds between two looks. DELETE_REMOVED: whether volumes of removed nodes go.
set -u

ordinals_max=9 # as in the chart: node ids 1 to 9
PERIOD=${PERIOD:-5} DELETE_REMOVED=${DELETE_REMOVED:-false} TOKENS_EVERY=${TOKENS_EVERY:-0}

say() { printf '%s\n' "$*" >&2; }

# Not kubectl's --request-timeout: with one, kubectl takes its configuration for changed and calls localhost instead of
# the API server of the cluster that it runs in (kubernetes/kubectl#1824).
k() { timeout 120 kubectl --namespace "$NAMESPACE" "$@"; }

# cluster NODE ARGUMENT...: the operators' command inside of that node's pod.
cluster() {
    at=$1
    shift
    k exec "$STATEFULSET-$((at - 1))" --container core -- /sidelock cluster "$@" </dev/null
}

# How many nodes there are to be; nothing if the StatefulSet is not there.
wanted() { k get statefulset "$STATEFULSET" --ignore-not-found --output 'jsonpath={.spec.replicas}'; }

# The node ids whose pods run.
running() {
    k get pods --selector "$SELECTOR" --field-selector status.phase=Running --output name |
        sed -n "s|^pod/$STATEFULSET-\([0-9]\{1,2\}\)\$|\1|p" | while read -r ordinal; do echo $((ordinal + 1)); done
}

# Finds the leader: $leader, and in $state what it says. Fails if nobody leads.
look() {
    for seen in $(running); do
        state=$(cluster "$seen" status 2>/dev/null) || continue
        leader=$(printf '%s\n' "$state" | sed -n 's/^node \([0-9]\{1,5\}\) leads .*/\1/p')
        [ -n "$leader" ] || continue
        # What others know of it may be old: it must say so itself.
        state=$(cluster "$leader" status 2>/dev/null) || continue
        case $state in "node $leader leads "*) return 0 ;; esac
    done
    return 1
}

# with ROLE...: the node ids that have one of these roles in $state.
with() {
    printf '%s\n' "$state" | awk -v roles=" $* " 'NF > 1 && index(roles, " " $2 " ") { print $1 }'
}

has() { with "$2" | grep -qx "$1"; }

# change VERB NODE: at the leader; says what came of it.
change() {
    if said=$(cluster "$leader" "$@" 2>&1); then
        say "done: $*"
    else
        say "not done: $*: $said"
        return 1
    fi
}

# The highest member above N, if there is one.
surplus() { with voter learner | sort -n | awk -v most="$1" '$1 > most { last = $1 } END { if (last) print last }'; }

# One change towards N members; fails if there was nothing to do or it could not be done.
step() {
    node=1
    while [ "$node" -le "$1" ]; do
        if has "$node" learner && ! has "$node" voter; then
            change promote "$node"
            return
        elif ! has "$node" voter && has "$node" applicant; then
            change add "$node"
            return
        elif has "$node" voter && has "$node" applicant && [ "${told:-}" != "$node" ]; then
            say "node $node has lost its disk: if that is so, run \`sidelock cluster replace $node\` in $STATEFULSET-$((leader - 1))"
            told=$node
        fi
        node=$((node + 1))
    done
    over=$(surplus "$1")
    [ -n "$over" ] || return 1
    change remove "$over"
}

# Whether every member answers and none of them counts this node as one.
agreed_gone() {
    everyone=$(with voter learner)
    [ -n "$everyone" ] || return 1
    for member in $everyone; do
        view=$(cluster "$member" status 2>/dev/null) || return 1
        printf '%s\n' "$view" | awk -v node="$1" '$1 == node && ($2 == "voter" || $2 == "learner") { found = 1 } END { exit found }' || return 1
    done
}

# Deletes the volumes of nodes that were removed and are gone: the cell never takes such a disk back.
tidy() {
    node=$(($1 + 1))
    while [ "$node" -le "$ordinals_max" ]; do
        claim=data-$STATEFULSET-$((node - 1))
        if [ -n "$(k get persistentvolumeclaim "$claim" --ignore-not-found --output name)" ] &&
            gone=$(k get pod "$STATEFULSET-$((node - 1))" --ignore-not-found --output name) && [ -z "$gone" ] &&
            agreed_gone "$node"; then
            k delete persistentvolumeclaim "$claim" --wait=false >/dev/null && say "deleted $claim: node $node is no longer in the cell"
        fi
        node=$((node + 1))
    done
}

tokens() {
    issuer=$(k get --raw /.well-known/openid-configuration | sed -n 's/.*"issuer": *"\([^"]*\)".*/\1/p') && [ -n "$issuer" ] || return 1
    keys=$(k get --raw /openid/v1/jwks) && [ -n "$keys" ] || return 1
    k create configmap "$TOKENS" --from-literal="issuer=$issuer" --from-literal="jwks.json=$keys" --dry-run=client --output yaml |
        k label --local --filename - "$TOKENS_LABELS" --output yaml |
        k apply --server-side --force-conflicts --field-manager sidelock-keeper --filename - >/dev/null || return 1
    say "the keys of tokens of $issuer are current"
}

settle() {
    next_tokens=0
    while :; do
        now=$(date +%s)
        if [ "$TOKENS_EVERY" -gt 0 ] && [ "$now" -ge "$next_tokens" ]; then
            if tokens; then next_tokens=$((now + TOKENS_EVERY)); else say "cannot fetch the keys of tokens"; fi
        fi
        # Scaled to nothing: the cell sleeps, and nobody has left it.
        if want=$(wanted) && [ -n "$want" ] && [ "$want" -gt 0 ] && look; then
            tries=$ordinals_max
            while [ "$tries" -gt 0 ] && step "$want" && look; do tries=$((tries - 1)); done
            if [ "$DELETE_REMOVED" = true ] && want=$(wanted) && [ "${want:-0}" -gt 0 ] && look; then tidy "$want"; fi
        fi
        sleep "$PERIOD" &
        wait $!
    done
}

# Fails if the nodes cannot be removed: then Helm does not go on, and nothing is lost.
shrink() {
    have=$(wanted) || return 1
    if [ -z "$have" ] || [ "$have" -le "$1" ]; then
        say "nothing to remove: ${have:-no} nodes, $1 to be"
        return 0
    fi
    while :; do
        if look; then
            over=$(surplus "$1") || return 1
            [ -n "$over" ] || return 0
            # The leader itself is removed by the next one, so a refusal may be a step forward.
            change remove "$over" && continue
        else
            say "no leader is known"
        fi
        sleep "$PERIOD"
    done
}

trap 'exit 0' TERM
case ${1:-} in
    settle) settle ;;
    shrink) shrink "$2" ;;
    tokens) tokens ;;
    *) say "usage: keeper.sh settle | shrink N | tokens"; exit 64 ;;
esac
