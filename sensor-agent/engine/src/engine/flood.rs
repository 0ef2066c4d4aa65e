//! Floods of HTTP/2 frames. A client may take streams back, ping, change settings and continue header blocks, and each frame is work for
//! the server; a connection that does little else is an attack (rapid reset: CVE-2023-44487, CONTINUATION: CVE-2024-27316).

use std::time::Duration;

use super::settings::Settings;
use crate::http::http2::frame::Control;
use crate::time::Timestamp;

/// Within which time frames are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// Control frames for each stream that even busy clients do not reach.
const CONTROL_OF_STREAM: u32 = 10;

/// What the client of a connection has sent within the window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flood {
    since: Option<Timestamp>,
    streams: u32,
    resets: u32,
    control: u32,
    told: bool,
}

impl Flood {
    /// Counts a request.
    pub(super) fn stream(&mut self, time: Timestamp) {
        self.begin(time);
        self.streams = self.streams.saturating_add(1);
    }

    /// Counts a frame of the client; whether the connection has become a flood with it. It is told once.
    pub(super) fn frame(&mut self, control: Control, time: Timestamp, settings: &Settings) -> bool {
        self.begin(time);
        match control {
            Control::Reset => self.resets = self.resets.saturating_add(1),
            Control::Settings | Control::Ping | Control::Continuation => {
                self.control = self.control.saturating_add(1);
            }
            Control::Other => return false,
        }
        let over = |count: u32, most: u32| most > 0 && count > most;
        let is_flood = over(self.resets, settings.max_http2_resets)
            && self.resets.saturating_mul(2) >= self.streams
            || over(self.control, settings.max_http2_control)
                && self.control >= self.streams.saturating_mul(CONTROL_OF_STREAM);
        is_flood && !std::mem::replace(&mut self.told, true)
    }

    fn begin(&mut self, time: Timestamp) {
        if self.since.is_none_or(|since| time.since(since) > WINDOW) {
            *self = Self { since: Some(time), told: self.told, ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a client that sends so many frames a second, for 30 seconds, is told to flood.
    fn told(streams: u32, control: Control, frames: u32) -> usize {
        let (settings, mut flood) = (Settings::default(), Flood::default());
        let seconds = (0..30).map(|second| Timestamp::default() + Duration::from_secs(second));
        let mut of_second = |time| {
            (0..streams).for_each(|_| flood.stream(time));
            (0..frames).filter(|_| flood.frame(control, time, &settings)).count()
        };
        seconds.map(&mut of_second).sum()
    }

    /// Case R18.
    #[test]
    fn floods_are_told_once() {
        assert_eq!(told(20, Control::Reset, 20), 1);
        assert_eq!(told(1, Control::Ping, 200), 1);
        assert_eq!(told(0, Control::Continuation, 200), 1);
    }

    #[test]
    fn busy_clients_are_none() {
        // A browser that leaves pages, and a client that pings and gets its answers.
        assert_eq!(told(20, Control::Reset, 5), 0);
        assert_eq!(told(1000, Control::Reset, 100), 0);
        assert_eq!(told(5, Control::Ping, 2), 0);
        assert_eq!(told(5000, Control::Ping, 500), 0);
        assert_eq!(told(1, Control::Other, 5000), 0);
    }
}
