package fetch

import (
	"context"
	"io"
	"time"
)

// Budget says when bytes may flow. It is asked by all transfers at once. Headers and TLS are not counted: allow for 3 %.
type Budget interface {
	// Allow asks for n more bytes of a file before they are asked of the link. why is empty: yes, after that wait. Else not now, in wait
	// perhaps: the transfer ends with a BudgetError and can be taken up again. What is granted counts as spent.
	Allow(ctx context.Context, n int64) (wait time.Duration, why string)
	// Count takes n bytes that flow whatever the budget says: what Get gets, and what is sent.
	Count(ctx context.Context, n int64)
}

// maxPace is the longest wait for the budget with a connection open.
const maxPace = 10 * time.Second

// meter holds the reading of a body to the budget. What was granted and not used serves the next try.
type meter struct {
	c       *Client
	anyway  bool  // it is counted and never waits
	block   int64 // bytes asked for at a time
	left    int64 // bytes that can still come
	granted int64
}

// grant makes sure that at least a byte may flow; it is called before the request too, so that a spent budget costs nothing.
func (m *meter) grant(ctx context.Context) error {
	n := min(m.block, m.left)
	if m.granted > 0 || n <= 0 {
		return nil
	}
	if m.anyway {
		m.c.count(ctx, n)
	} else if err := m.c.spend(ctx, n); err != nil {
		return err
	}
	m.granted = n
	return nil
}

func (m *meter) read(ctx context.Context, r io.Reader, p []byte) (int, error) {
	if err := ctx.Err(); err != nil { // what is in buffers does not outlive the context
		return 0, err
	}
	if err := m.grant(ctx); err != nil {
		return 0, err
	}
	if m.granted > 0 {
		p = p[:min(int64(len(p)), m.granted)]
	}
	n, err := r.Read(p)
	m.granted -= min(m.granted, int64(n))
	m.left -= int64(n)
	m.c.n.received.Add(int64(n))
	return n, err
}

// count tells the budget of n bytes that do not ask.
func (c *Client) count(ctx context.Context, n int64) {
	if c.cfg.Budget != nil {
		c.cfg.Budget.Count(ctx, n)
	}
}

// spend asks the budget for n bytes.
func (c *Client) spend(ctx context.Context, n int64) error {
	if c.cfg.Budget == nil {
		return nil
	}
	wait, why := c.cfg.Budget.Allow(ctx, n)
	if why != "" || wait > maxPace {
		return ended(&BudgetError{Wait: wait, Why: why})
	}
	if wait <= 0 {
		return nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
