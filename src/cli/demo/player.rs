//! Plays the recording to the bridge's own receiver, over HTTP as ModelMuxer's SDK would.

use super::recording::{Play, Recording, Step};
use super::rewrite::Ids;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use muxbridge_core::Clock;
use muxbridge_kit::http::HttpClient;
use std::time::Duration;

/// How often a request that is refused is sent again, a second apart.
const ATTEMPTS: u32 = 30;

/// Sends requests.
pub(super) struct Player {
    pub(super) client: HttpClient,
    /// The port of the receiver.
    pub(super) port: u16,
    pub(super) clock: Clock,
    pub(super) speed: f64,
    pub(super) random: fastrand::Rng,
}

impl Player {
    /// Plays the recording once.
    ///
    /// # Errors
    /// The receiver does not take it.
    pub(super) async fn play(&mut self, recording: &Recording) -> Result<(), String> {
        let began = self.clock.unix_nanos();
        let play = Play { began, speed: self.speed, ids: Ids(self.random.u128(..)) };
        for step in &recording.steps {
            let wait = play.time(step.at).saturating_sub(self.clock.unix_nanos());
            if wait > 0 {
                tokio::time::sleep(Duration::from_nanos(wait)).await;
            }
            self.send(step, step.request(&play)?).await?;
        }
        Ok(())
    }

    async fn send(&self, step: &Step, body: Bytes) -> Result<(), String> {
        let uri = format!("http://127.0.0.1:{}/v1/{}", self.port, step.signal);
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let request = Request::post(&uri)
                .header(CONTENT_TYPE, "application/x-protobuf")
                .body(body.clone())
                .map_err(|e| e.to_string())?;
            last = match self.client.send(request).await {
                Ok(response) if response.status() == StatusCode::OK => return Ok(()),
                Ok(response) => format!("{uri}: {}", response.status()),
                Err(error) => format!("{uri}: {error}"),
            };
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Err(last)
    }
}
