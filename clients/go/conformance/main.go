// Command conformance drives the client by steps: a line of JSON in, a line out.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	sidelock "sidelock.dev/go"
)

type step struct {
	Do        string
	As        string
	URL       string
	TokenFile string `json:"token_file"`
	Lock      string
	Locks     []string
	WaitMs    int64 `json:"wait_ms"`
	TTLMs     int64 `json:"ttl_ms"`
	Fields    map[string]any
}

type answer = map[string]any

var (
	locks = map[string]*sidelock.Lock{}
	begun = map[string]chan func() (answer, error){}
)

func take(s step) func() (answer, error) {
	request := sidelock.Request{Lock: s.Lock, Wait: time.Duration(s.WaitMs) * time.Millisecond,
		TTL: time.Duration(s.TTLMs) * time.Millisecond, Fields: s.Fields}
	for _, name := range s.Locks {
		request.Locks = append(request.Locks, sidelock.Want{"name": name})
	}
	client := sidelock.New(s.URL)
	client.TokenFile = s.TokenFile
	lock, err := client.Lock(context.Background(), request)
	return func() (answer, error) {
		if err != nil {
			return nil, err
		}
		locks[s.As] = lock
		names := []string{}
		for name := range lock.Tokens {
			names = append(names, name)
		}
		return answer{"ok": true, "token": lock.Token, "names": names}, nil
	}
}

func play(s step) (answer, error) {
	ok := answer{"ok": true}
	switch s.Do {
	case "lock":
		return take(s)()
	case "begin":
		done := make(chan func() (answer, error), 1)
		begun[s.As] = done
		go func() { done <- take(s) }()
	case "join":
		return (<-begun[s.As])()
	case "check":
		return ok, context.Cause(locks[s.As].Context())
	case "release":
		return ok, locks[s.As].Release()
	case "lost":
		return <-losses[s.As], nil
	}
	return ok, nil
}

// losses are noticed when they are told, not when they are asked for.
var losses = map[string]chan answer{}

func watch(name string, lock *sidelock.Lock) {
	told := make(chan answer, 1)
	losses[name] = told
	context.AfterFunc(lock.Context(), func() {
		late := float64(time.Since(lock.Deadline()).Microseconds()) / 1000
		var lost *sidelock.Error
		if errors.As(context.Cause(lock.Context()), &lost) {
			told <- answer{"code": lost.Code, "reason": lost.Reason, "late_ms": late}
		}
	})
}

func main() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var s step
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			panic(err)
		}
		said, err := play(s)
		if s.Do == "lock" && err == nil {
			watch(s.As, locks[s.As])
		}
		var refused *sidelock.Error
		if errors.As(err, &refused) {
			said = answer{"code": refused.Code, "retryable": refused.Retryable}
		} else if err != nil {
			said = answer{"code": err.Error()}
		}
		line, _ := json.Marshal(said)
		fmt.Println(string(line))
	}
}
