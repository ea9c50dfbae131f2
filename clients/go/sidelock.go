// Package sidelock takes locks from the Sidelock sidecar of this host.
//
//	lock, err := client.Lock(ctx, sidelock.Request{Lock: "orders/42", Wait: 5 * time.Second})
//	if err != nil { return err }
//	defer lock.Release()
//	return write(lock.Context(), lock.Token) // the resource refuses a smaller token
//
// One request claims, waits and keeps the lock for as long as it is open; nothing has to be renewed. Until when the
// hold is certain (Deadline) is asked anew at a third of the time left. Only an answer to a request of ours moves it,
// and it counts from before that request was sent: early is safe, late is a lost lock.
//
// Loss cancels the lock's context: at the deadline, or at once when the sidecar says so or its stream breaks. Go's
// clock does not count the time that the machine is suspended; the sidecar's does, and tells at the resume.
package sidelock

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	answerMax    = 5 * time.Second       // for what is answered at once; the sidecar holds nothing back for more than 3 s
	lookLeast    = 50 * time.Millisecond // between two looks at a hold whose deadline is near
	lineBytesMax = 1 << 20               // an event of 64 locks with the longest names is far below
)

// ErrReleased is the cause of a lock's context after Release.
var ErrReleased = errors.New("sidelock: released")

// Error is a refusal, or a loss (code claim-lost). Decide by Code: those of docs/problems.md, and sidecar-unreachable
// if nobody answers. Reason tells why a claim was lost: one of the sidecar's, deadline-passed or stream-broken.
type Error struct {
	Code         string `json:"code"`
	Detail       string `json:"detail"`
	Retryable    bool   `json:"retryable"`      // the same may succeed later
	RetryAfterMs int64  `json:"retry_after_ms"` // when; 0 if that is not known
	Reason       string `json:"reason"`
}

func (e *Error) Error() string {
	return strings.TrimRight(fmt.Sprintf("sidelock: %s: %s", e.Code, e.Detail+e.Reason), ": ")
}

// CodeOf is the code of a refusal or loss; "" for any other error.
func CodeOf(err error) string {
	if found := (*Error)(nil); errors.As(err, &found) {
		return found.Code
	}
	return ""
}

// Want is one of several locks, with the fields of the API: name, mode, permits, limit.
type Want = map[string]any

// Request is a claim on one lock (Lock) or on several, all or nothing (Locks).
type Request struct {
	Lock   string
	Locks  []Want
	Wait   time.Duration  // how long to wait; 0 tries once
	TTL    time.Duration  // how long a hold outlives a stream of the sidecar that broke; 0: the default of 10 s
	Fields map[string]any // further fields as the API names them: mode, limit, permits, owner, metadata, value, ...
}

func (r Request) body() string {
	body := map[string]any{"wait_ms": r.Wait.Milliseconds()}
	maps.Copy(body, r.Fields)
	if r.Locks != nil {
		body["locks"] = r.Locks
	} else {
		body["lock"] = r.Lock
	}
	if r.TTL != 0 {
		body["ttl_ms"] = r.TTL.Milliseconds()
	}
	text, _ := json.Marshal(body) // what cannot be JSON is refused by the sidecar
	return string(text)
}

// Client asks one sidecar. It may be used by many goroutines.
type Client struct {
	TokenFile string // has the token, if the sidecar wants one: SIDELOCK_API_TOKEN_FILE; read anew for each request
	http      http.Client
	base      string
}

// New makes a client of url: http://HOST:PORT or unix:PATH; if "", SIDELOCK_URL; else port 5625 here.
func New(url string) *Client {
	url = cmp.Or(url, os.Getenv("SIDELOCK_URL"), "http://127.0.0.1:5625")
	transport := &http.Transport{} // no proxy on the way to a neighbour
	if path, unix := strings.CutPrefix(url, "unix:"); unix {
		url = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
	}
	return &Client{os.Getenv("SIDELOCK_API_TOKEN_FILE"), http.Client{Transport: transport}, strings.TrimRight(url, "/")}
}

// Lock is a hold.
type Lock struct {
	ClaimID string
	Token   int64            // the fencing token, of a claim on one lock
	Tokens  map[string]int64 // of each lock

	client   *Client
	ctx      context.Context
	cancel   context.CancelCauseFunc
	hangUp   func() // closes the stream
	deadline atomic.Pointer[time.Time]
	release  sync.Once
	released error
}

type claim struct {
	State, Reason string
	ClaimID       string `json:"claim_id"`
	Token         int64
	SafeForMs     int64 `json:"safe_for_ms"`
	Locks         []struct {
		Name  string
		Token int64
	}
}

func (c claim) why() string { return cmp.Or(c.Reason, c.State) }

func lost(reason string) *Error { return &Error{Code: "claim-lost", Reason: reason} }

// Lock claims and waits. The end of ctx ends the wait; of a hold it ends Context, but not the hold: call Release.
func (c *Client) Lock(ctx context.Context, request Request) (*Lock, error) {
	// The stream must outlive ctx: work that winds down still needs the lock.
	streamCtx, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(ctx, hangUp)
	asked := time.Now()
	answer, err := c.send(streamCtx, "POST", "/v1/claims", request.body(), "text/event-stream")
	var lock *Lock
	if err == nil {
		lock, err = c.granted(ctx, answer, asked, hangUp)
	}
	if !unhook() || err != nil {
		hangUp()
		return nil, errors.Join(err, ctx.Err())
	}
	return lock, nil
}

func (c *Client) granted(ctx context.Context, answer *http.Response, asked time.Time, hangUp func()) (*Lock, error) {
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, lineBytesMax)
	now, waited := next(lines), false
	for ; now.State == "queued"; now = next(lines) {
		waited = true
	}
	switch {
	case now.State == "":
		return nil, &Error{Code: "sidecar-unreachable", Detail: "the stream broke during the wait", Retryable: true}
	case now.State != "granted":
		// What ends a wait has the name of the problem that a try would get.
		return nil, &Error{Code: now.why(), Detail: "the wait ended", Retryable: true}
	case waited: // the event's times count from the grant, and who knows when that was
		asked = time.Now()
		var err error
		if now, err = c.ask(ctx, "GET", now.ClaimID); err != nil {
			return nil, err
		}
	}
	lock := &Lock{ClaimID: now.ClaimID, Token: now.Token, Tokens: map[string]int64{}, client: c, hangUp: hangUp}
	for _, it := range now.Locks {
		lock.Tokens[it.Name] = it.Token
	}
	lock.ctx, lock.cancel = context.WithCancelCause(ctx)
	lock.certain(asked, now)
	go lock.follow(lines)
	go lock.keep()
	return lock, nil
}

// Context ends with the hold. context.Cause tells why: an *Error with code claim-lost, or ErrReleased.
func (l *Lock) Context() context.Context { return l.ctx }

// Deadline is until when the hold is certain.
func (l *Lock) Deadline() time.Time { return *l.deadline.Load() }

// Release gives the lock back; repeats return the same. An *Error with code claim-lost if the hold had ended before.
func (l *Lock) Release() error {
	l.release.Do(func() {
		l.cancel(ErrReleased)
		// Only after the DELETE: a stream closed without it is a death. That lets go of a lost hold, too.
		defer l.hangUp()
		if l.released = context.Cause(l.ctx); CodeOf(l.released) == "claim-lost" {
			return
		}
		_, l.released = l.client.ask(context.Background(), "DELETE", l.ClaimID)
	})
	return l.released
}

// certain moves the deadline to what an answer says to a request sent at asked.
func (l *Lock) certain(asked time.Time, now claim) {
	deadline := asked.Add(time.Duration(now.SafeForMs) * time.Millisecond)
	l.deadline.Store(&deadline)
	time.AfterFunc(time.Until(deadline), func() {
		if !time.Now().Before(l.Deadline()) { // else it was moved
			l.cancel(lost("deadline-passed"))
		}
	})
}

func (l *Lock) follow(lines *bufio.Scanner) {
	for now := next(lines); now.State != ""; now = next(lines) {
		if now.State != "granted" {
			l.cancel(lost(now.why()))
		}
	}
	l.cancel(lost("stream-broken"))
}

func (l *Lock) keep() {
	for l.ctx.Err() == nil {
		time.Sleep(max(time.Until(l.Deadline())/3, lookLeast))
		asked := time.Now()
		now, err := l.client.ask(l.ctx, "GET", l.ClaimID)
		if err == nil {
			l.certain(asked, now)
		} else if CodeOf(err) == "claim-lost" {
			l.cancel(err)
		} // else the deadline decides
	}
}

// next is the claim of the next event; its state says all. Without a state: the stream has ended.
func next(lines *bufio.Scanner) (now claim) {
	for lines.Scan() {
		data, found := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		// The event `mode`, and what is yet unknown, have no claim.
		if found && json.Unmarshal(data, &now) == nil && now.ClaimID != "" {
			return now
		}
	}
	return claim{}
}

// ask is for what is answered at once. A hold that does not stand any more is an error.
func (c *Client) ask(ctx context.Context, method, id string) (now claim, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerMax)
	defer cancel()
	answer, err := c.send(ctx, method, "/v1/claims/"+id, "", "application/json")
	if err != nil {
		return now, err
	}
	defer answer.Body.Close()
	if method == "DELETE" {
		return now, nil
	}
	if err = json.NewDecoder(answer.Body).Decode(&now); err == nil && now.State != "granted" {
		err = lost(now.why())
	}
	return now, err
}

func (c *Client) send(ctx context.Context, method, path, body, accept string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header = http.Header{"Accept": {accept}, "Content-Type": {"application/json"}}
	if c.TokenFile != "" {
		token, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return nil, &Error{Code: "unauthorized", Detail: err.Error()}
		}
		request.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, &Error{Code: "sidecar-unreachable", Detail: err.Error(), Retryable: true}
	}
	if answer.StatusCode < 400 {
		return answer, nil
	}
	defer answer.Body.Close()
	problem := &Error{}
	if json.NewDecoder(answer.Body).Decode(problem); problem.Code == "" {
		*problem = Error{Code: "sidecar-unreachable", Detail: answer.Status + " without a problem", Retryable: true}
	}
	return nil, problem
}
