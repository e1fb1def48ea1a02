//! Takes the terminal over and gives it back as it was, whatever happens. Reads keys.

use std::io::{self, Stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyEvent};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use tokio::sync::mpsc;

use super::Panes;
use crate::failure::{Failure, Result};

/// How long the thread that reads keys may outlive the view.
const POLL: Duration = Duration::from_millis(100);

/// The terminal while it shows the view. Dropping it gives it back.
pub struct FullScreen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    over: Arc<AtomicBool>,
}

impl FullScreen {
    /// Takes the terminal over. A key is `Some`; a change of the terminal's size `None`.
    ///
    /// # Errors
    /// It is none, or does not do what it is told.
    pub fn enter() -> Result<(Self, mpsc::UnboundedReceiver<Option<KeyEvent>>)> {
        let cannot = |error: io::Error| {
            Failure::failed(format!("cannot use the terminal for a full-screen view: {error}"))
                .next("add --plain for lines instead")
        };
        enable_raw_mode().map_err(cannot)?;
        let over = Arc::new(AtomicBool::new(false));
        // From here on a failure gives the terminal back.
        let entered =
            execute!(io::stdout(), EnterAlternateScreen).and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        let terminal = entered.inspect_err(|_| restore()).map_err(cannot)?;
        let screen = Self { terminal, over: Arc::clone(&over) };
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            hook(panic);
        }));
        let (keys_tx, keys) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let event = match event::poll(POLL) {
                    Ok(true) => event::read(),
                    Ok(false) => continue,
                    Err(_) => break,
                };
                let sent = match event {
                    Ok(Event::Key(key)) => keys_tx.send(Some(key)),
                    Ok(Event::Resize(..)) => keys_tx.send(None),
                    Ok(_) => Ok(()),
                    Err(_) => break,
                };
                if sent.is_err() {
                    break;
                }
            }
        });
        Ok((screen, keys))
    }

    /// Draws the view.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, panes: &mut Panes) -> Result<()> {
        let drawn = self.terminal.draw(|frame| panes.draw(frame, Timestamp::now()));
        drawn.map(|_| ()).map_err(|error| Failure::failed(format!("cannot draw: {error}")))
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        restore();
    }
}

/// Whatever of this fails, the terminal is gone.
fn restore() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, ratatui::crossterm::cursor::Show);
    let _ = disable_raw_mode();
}
