//! One of our binaries as a running process.

use std::time::Duration;

use local_servers::{ProcessState, ServiceSpec, Stack};

use crate::wait;

/// How long a service may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A process of the shared stack, killed when dropped.
#[derive(Debug)]
pub struct Service {
    stack: &'static Stack,
    name: String,
    port: u16,
}

impl Service {
    pub(crate) async fn start(stack: &'static Stack, name: String, mut spec: ServiceSpec, port: u16) -> Self {
        spec.name.clone_from(&name);
        stack.start_service(spec, env!("CARGO_PKG_VERSION")).await.expect("start a service");
        Self { stack, name, port }
    }

    /// Name of its process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// URL of a path on the service's port.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&self) -> &Self {
        wait::until(&format!("{} is ready; {}", self.name, self.log_hint()), READY_WITHIN, async || {
            let response = reqwest::get(self.url("/readyz")).await.ok()?;
            response.status().is_success().then_some(())
        })
        .await;
        self
    }

    /// What `/readyz` says it waits for; `None` while it does not answer.
    pub async fn waiting(&self) -> Option<serde_json::Value> {
        let response = reqwest::get(self.url("/readyz")).await.ok()?;
        Some(response.json::<serde_json::Value>().await.ok()?["waiting"].clone())
    }

    /// Waits until `/readyz` names this component with a reason that contains `text`.
    pub async fn waits_for(&self, component: &str, text: &str) {
        let what = format!("{} waits for {component}: {text}; {}", self.name, self.log_hint());
        wait::until(&what, READY_WITHIN, async || {
            let reason = self.waiting().await?.get(component)?.as_str()?.to_owned();
            reason.contains(text).then_some(())
        })
        .await;
    }

    /// Sum of a metric over its labels that contain `labels`; `None` if there is no such sample.
    pub async fn metric(&self, name: &str, labels: &str) -> Option<f64> {
        let text = reqwest::get(self.url("/metrics")).await.ok()?.text().await.ok()?;
        let values = text.lines().filter_map(|line| {
            let (sample, value) = line.rsplit_once(' ')?;
            let (metric, rest) = sample.split_once('{').unwrap_or((sample, ""));
            (metric == name && rest.contains(labels)).then(|| value.parse::<f64>().ok())?
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// SIGKILL.
    pub async fn kill(&self) {
        self.stack.kill(&self.name).await.expect("kill a service");
    }

    /// Starts it again with the same configuration, on the same port.
    pub async fn restart(&self) {
        self.stack.restart(&self.name).await.expect("restart a service");
    }

    /// SIGTERM, and how long it took to end; by force after 15 s.
    pub async fn stop(&self) -> Duration {
        let began = std::time::Instant::now();
        self.stack.stop(&self.name).await.expect("stop a service");
        began.elapsed()
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.stack.pause(&self.name).expect("pause a service");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.stack.resume(&self.name).expect("resume a service");
    }

    /// Waits until it has ended by itself; how it did.
    pub async fn exited(&self) -> String {
        wait::until(&format!("{} ends", self.name), READY_WITHIN, async || {
            self.stack.status().into_iter().find_map(|status| match status.state {
                ProcessState::Exited(how) if status.record.name == self.name => Some(how),
                _ => None,
            })
        })
        .await
    }

    /// How it has ended by itself; `None` while it runs, or after it was killed or stopped.
    pub fn ended(&self) -> Option<String> {
        self.stack.exited().into_iter().find_map(|(name, how)| (name == self.name).then_some(how))
    }

    /// What it logged since its first start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.stack.log(&self.name)).unwrap_or_default()
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = self.stack.status().into_iter().find(|status| status.record.name == self.name);
        status.map_or(0, |status| status.resident_bytes)
    }

    fn log_hint(&self) -> String {
        format!("its log is {}", self.stack.log(&self.name).display())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let (stack, name) = (self.stack, self.name.clone());
        let killer = std::thread::spawn(move || crate::shared::runtime().block_on(stack.kill(&name)));
        // A test that fails already must not panic again.
        let _ = killer.join();
    }
}
