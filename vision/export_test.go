package vision

import "time"

// SetWaits shortens the waits of a Client that does not run yet.
func (c *Client) SetWaits(least, most, refused time.Duration) { c.pace = pace{least, most, refused} }
