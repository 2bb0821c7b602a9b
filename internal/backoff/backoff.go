// Package backoff spaces out retries: exponential growth with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
package backoff

import (
	"math/rand/v2"
	"time"
)

// Backoff is a growing ceiling; each Next is a random wait below it, at least a tenth of it. The zero value is not usable: set Min and Max.
type Backoff struct {
	Min, Max time.Duration
	ceiling  time.Duration
}

// Next is how long to wait before the next try.
func (b *Backoff) Next() time.Duration {
	b.ceiling = min(max(b.ceiling*2, b.Min), b.Max)
	floor := b.ceiling / 10
	return floor + rand.N(b.ceiling-floor+1)
}

// Reset is called after a success that lasted.
func (b *Backoff) Reset() { b.ceiling = 0 }
