//! Draws the events of a running plan in the way that fits the output. Decides nothing about the work.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::lines::Lines;
use super::progress::Bars;
use super::stream::Stream;
use super::{Format, Ui};
use crate::event::Event;

impl Ui {
    /// Draws until the last sender of events is gone: JSON lines on stdout with `-o json`, else bars on a terminal,
    /// else plain lines, both on stderr.
    ///
    /// # Cancel
    /// Events that were not drawn are lost; a bar may stay on the screen.
    pub async fn draw(&self, mut events: UnboundedReceiver<Event>) {
        let mut drawing = self.drawing();
        while let Some(event) = events.recv().await {
            self.draw_one(&mut drawing, &event);
        }
        if let Drawing::Bars(bars) = &mut drawing {
            bars.end();
        }
    }

    /// Takes away whatever is still drawn, for good: the command has ended, or was left in the middle.
    pub fn end_drawing(&self) {
        self.screen.end_bars();
    }

    fn drawing(&self) -> Drawing {
        if self.format == Format::Json {
            self.streaming.store(true, Ordering::Relaxed);
            return Drawing::Stream(Stream::default());
        }
        let terminals = self.screen.terminals;
        match terminals.moves {
            true => Drawing::Bars(Bars::new(self.screen.bars.clone(), terminals.colour)),
            false => Drawing::Lines(Lines::default()),
        }
    }

    fn draw_one(&self, drawing: &mut Drawing, event: &Event) {
        match drawing {
            Drawing::Bars(bars) => bars.show(event).iter().for_each(|line| self.say(line)),
            Drawing::Lines(lines) => lines.line(event, Instant::now()).iter().for_each(|line| self.say(line)),
            Drawing::Stream(stream) => {
                if let Some(line) = stream.line(event, Instant::now(), Timestamp::now()) {
                    // The work goes on whether or not its progress can be written; the final report's error is shown.
                    let _ = self.screen.data(line.as_bytes());
                }
            }
        }
    }
}

/// The three ways to show progress.
enum Drawing {
    Bars(Bars),
    Lines(Lines),
    Stream(Stream),
}
