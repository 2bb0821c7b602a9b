package vision

import "time"

// SetPace shortens the waits of a Client that does not run yet.
func (c *Client) SetPace(least, most, refused time.Duration) { c.pace = pace{least, most, refused} }
