package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"heron/sync/message"
)

// Codes of rejections.
const (
	codeRetained  = "retained"
	codeRate      = "rate-limited"
	codeMalformed = "malformed"
	codeType      = "unknown-type"
	codeUsed      = "id-used"
	codeTooLong   = "expires-too-late"
	codeConflict  = "conflict"
	codeTooSoon   = "too-soon"
	codeBusy      = "busy"
	codeDisk      = "not-kept"
)

// Handle takes what came on cmd/{type}/{id}, the topic below the device's own, and decides: it is queued or answered. It waits for the
// disk, never for an act. Payload may be kept.
func (e *Executor) Handle(topic string, payload []byte, retained bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Received++
	allowed, first := e.bucket.take(time.Now())
	if !allowed && !first {
		e.stats.Rejected++
		e.stats.RateLimited++
		return
	}
	kind, id, ok := split(topic)
	if !ok { // nowhere to answer
		e.stats.Rejected++
		e.audit("command", "", message.Answer{Status: message.StatusRejected, Code: codeMalformed, Message: fmt.Sprintf("topic %.100q is not cmd/TYPE/ID", topic)})
		return
	}
	if !allowed {
		e.stats.RateLimited++
		e.reject(kind, id, "", codeRate, fmt.Sprintf("more than %g commands a second; those that follow are dropped without an answer", e.conf.Rate))
		return
	}
	if known, ok := e.journal.known[id]; ok {
		e.repeat(kind, known, retained)
		return
	}
	if retained {
		e.stats.Retained++
		e.reject(kind, id, "", codeRetained, "a command must not be retained: the broker would bring it again with every connection")
		return
	}
	c, err := message.ParseCommand(payload)
	if err == nil && c.ID != id {
		err = fmt.Errorf("id: %q, and %q in the topic", c.ID, id)
	}
	if err != nil {
		e.reject(kind, id, "", codeMalformed, err.Error())
		return
	}
	act, ok := e.acts[kind]
	if !ok {
		e.reject(kind, id, c.IssuedBy, codeType, "this device knows "+strings.Join(e.types(), ", "))
		return
	}
	if act.Check != nil {
		if err := act.Check(c.Args); err != nil {
			e.reject(kind, id, c.IssuedBy, codeOf(err, codeMalformed), err.Error())
			return
		}
	}
	e.admit(act, c)
}

// codeOf an error; other where it has none.
func codeOf(err error, other string) string {
	if coded := (Error{}); errors.As(err, &coded) {
		return coded.Code
	}
	return other
}

// repeat answers a command that is known already.
func (e *Executor) repeat(kind string, known entry, retained bool) {
	e.stats.Repeated++
	switch {
	case known.Kind != kind:
		e.reject(kind, known.ID, "", codeUsed, "this id was one of type "+known.Kind)
	case !retained:
		e.tell(kind, known.Answer)
	}
}

// admit queues a command that is well-formed, or says why not.
func (e *Executor) admit(act Act, c message.Command) {
	received := time.Now()
	left, reason := e.left(c, received)
	switch {
	case reason != "":
		e.reject(act.Type, c.ID, c.IssuedBy, codeTooLong, reason)
		return
	case left <= 0:
		e.stats.Expired++
		e.settle(act.Type, c.IssuedBy, message.Answer{V: 1, ID: c.ID, Status: message.StatusExpired, At: now(), Code: "expired", Message: "it was valid until " + c.ExpiresAt.UTC().Format(time.RFC3339)})
		return
	}
	if code, reason := e.obstacle(act); code != "" {
		e.stats.Rejected++
		e.settle(act.Type, c.IssuedBy, message.Answer{V: 1, ID: c.ID, Status: message.StatusRejected, At: now(), Code: code, Message: reason})
		return
	}
	a := message.Answer{V: 1, ID: c.ID, Status: message.StatusAccepted, At: now()}
	if err := e.journal.put(entry{Answer: a, Kind: act.Type, By: c.IssuedBy}, e.conf.Synced()); err != nil {
		e.stats.Trouble = err.Error()
		e.reject(act.Type, c.ID, c.IssuedBy, codeDisk, "the journal cannot be written, so it could be done twice: "+err.Error())
		return
	}
	e.stats.Accepted++
	e.stats.Trouble = ""
	e.queue = append(e.queue, waiting{act.Type, c, received.Add(left)})
	e.tell(act.Type, a)
	select {
	case e.more <- struct{}{}:
	default:
	}
}

// left is for how long a command may still be begun. With a clock out of sync its own span counts, from now.
func (e *Executor) left(c message.Command, received time.Time) (left time.Duration, reason string) {
	switch {
	case e.conf.Synced():
		left = c.ExpiresAt.Sub(received)
	case c.IssuedAt.IsZero():
		left = blind
	default:
		left = c.ExpiresAt.Sub(c.IssuedAt)
	}
	if left > maxAge {
		return 0, fmt.Sprintf("valid for %v; at most 7 days, for so long this device remembers what it did", left.Round(time.Minute))
	}
	return left, ""
}

// obstacle is why an act cannot be now.
func (e *Executor) obstacle(act Act) (code, reason string) {
	if w := e.leaving(); w != nil {
		return codeConflict, fmt.Sprintf("%s %s comes first, and ends what is under way", w.kind, w.cmd.ID)
	}
	if len(e.queue) >= maxQueue {
		return codeBusy, fmt.Sprintf("%d commands wait already", len(e.queue))
	}
	if act.Every > 0 {
		if rest := act.Every - e.journal.elapsed(act.Type, e.conf.Synced()); rest > 0 {
			return codeTooSoon, fmt.Sprintf("at most once in %v; again in %v", act.Every, rest.Round(time.Second))
		}
		if i := slices.IndexFunc(e.queue, func(w waiting) bool { return w.kind == act.Type }); i >= 0 {
			return codeTooSoon, fmt.Sprintf("%s waits already", e.queue[i].cmd.ID)
		}
	}
	if act.Blocked != nil {
		if reason := act.Blocked(); reason != "" {
			return codeConflict, reason
		}
	}
	return "", ""
}

// leaving is a command, accepted or under way, that ends this process.
func (e *Executor) leaving() *waiting {
	if e.running != nil && e.acts[e.running.kind].Returns {
		return e.running
	}
	for i := range e.queue {
		if e.acts[e.queue[i].kind].Returns {
			return &e.queue[i]
		}
	}
	return nil
}

// reject answers what is not worth remembering: it would push out what is.
func (e *Executor) reject(kind, id, by, code, reason string) {
	e.stats.Rejected++
	a := message.Answer{V: 1, ID: id, Status: message.StatusRejected, At: now(), Code: code, Message: reason}
	e.tell(kind, a)
	e.audit(kind, by, a)
}

// settle remembers and tells how a command ended.
func (e *Executor) settle(kind, by string, a message.Answer) {
	if err := e.journal.put(entry{Answer: a, Kind: kind, By: by}, e.conf.Synced()); err != nil {
		e.stats.Trouble = err.Error()
		e.conf.Log.Error("commands: an end could not be kept", "type", kind, "id", a.ID, "error", err)
	}
	e.tell(kind, a)
	e.audit(kind, by, a)
}

// split takes cmd/{type}/{id} apart.
func split(topic string) (kind, id string, ok bool) {
	parts := strings.Split(topic, "/")
	if len(parts) != 3 || parts[0] != "cmd" || !message.IsSlot(parts[1]) || !message.IsSlot(strings.ToLower(parts[2])) {
		return "", "", false
	}
	return parts[1], parts[2], true
}

// bucket holds the rate: a token a command, so many a second, burst at most.
type bucket struct {
	rate, burst, tokens float64
	at                  time.Time
	dry                 bool // a flood is on; it ends when the bucket is half full again
}

// take reports whether there was a token, and whether this is the first time in a flood that there was none.
func (b *bucket) take(t time.Time) (ok, first bool) {
	b.tokens = min(b.burst, b.tokens+t.Sub(b.at).Seconds()*b.rate)
	b.at = t
	if b.tokens >= b.burst/2 {
		b.dry = false
	}
	if b.tokens >= 1 {
		b.tokens--
		return true, false
	}
	first = !b.dry
	b.dry = true
	return false, first
}
