//! Questions about subjects and their compatibility.

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::{NoSuch, Registry, RegistryError};

/// In bytes; schemas have kilobytes.
pub(super) const MAX_ANSWER: usize = 16 << 20;

impl Registry {
    /// Sets what changes of the subject's schema are allowed, such as `BACKWARD_TRANSITIVE`. The subject need not
    /// exist yet.
    ///
    /// # Errors
    /// The registry is away or does not know the level.
    pub async fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), RegistryError> {
        self.put_compatibility(&format!("config/{subject}"), subject, level).await
    }

    /// The same for all subjects that have none of their own.
    ///
    /// # Errors
    /// As [`Registry::set_compatibility`].
    pub async fn set_global_compatibility(&self, level: &str) -> Result<(), RegistryError> {
        self.put_compatibility("config", "all subjects", level).await
    }

    /// What is set for the subject itself; `None` if nothing is.
    ///
    /// # Errors
    /// The registry is away or refuses the question.
    pub async fn compatibility(&self, subject: &str) -> Result<Option<String>, RegistryError> {
        self.get_compatibility(&format!("config/{subject}"), subject).await
    }

    /// What is set for all subjects.
    ///
    /// # Errors
    /// As [`Registry::compatibility`].
    pub async fn global_compatibility(&self) -> Result<Option<String>, RegistryError> {
        self.get_compatibility("config", "all subjects").await
    }

    /// The id under which the subject has this very schema; `None` if it has not.
    ///
    /// # Errors
    /// The registry is away or refuses the schema.
    pub async fn id_of(&self, subject: &str, schema: &str) -> Result<Option<u32>, RegistryError> {
        let request = self.client.post(self.path(&format!("subjects/{subject}")));
        let request = request.json(&json!({ "schema": schema }));
        let answer = self.ask(request, || format!("the schema of {subject}")).await?;
        Ok(answer.ok().and_then(|answer| answer.get("id")?.as_u64()?.try_into().ok()))
    }

    /// The subject's newest schema, as JSON; `None` if it has none.
    ///
    /// # Errors
    /// The registry is away or refuses the question.
    pub async fn latest_schema(&self, subject: &str) -> Result<Option<String>, RegistryError> {
        let request = self.client.get(self.path(&format!("subjects/{subject}/versions/latest")));
        let answer = self.ask(request, || format!("the schema of {subject}")).await?;
        Ok(answer.ok().and_then(|answer| Some(answer.get("schema")?.as_str()?.to_owned())))
    }

    async fn put_compatibility(&self, path: &str, whose: &str, level: &str) -> Result<(), RegistryError> {
        let what = || format!("compatibility {level} for {whose}");
        let request = self.client.put(self.path(path)).json(&json!({ "compatibility": level }));
        match self.ask(request, what).await? {
            Ok(_) => Ok(()),
            Err(NoSuch { .. }) => Err(self.refused(what(), "not found".to_owned())),
        }
    }

    async fn get_compatibility(&self, path: &str, whose: &str) -> Result<Option<String>, RegistryError> {
        let request = self.client.get(self.path(path));
        let answer = self.ask(request, || format!("the compatibility of {whose}")).await?;
        Ok(answer.ok().and_then(|answer| Some(answer.get("compatibilityLevel")?.as_str()?.to_owned())))
    }

    /// The answer's document.
    pub(super) async fn ask(
        &self,
        request: RequestBuilder,
        what: impl FnOnce() -> String,
    ) -> Result<Result<Value, NoSuch>, RegistryError> {
        let response = request.send().await.map_err(|source| self.unavailable(source))?;
        let status = response.status();
        let body = self.body(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map(Ok).map_err(|source| self.unavailable(source));
        }
        if status == StatusCode::NOT_FOUND {
            let code =
                serde_json::from_slice::<Value>(&body).ok().and_then(|body| body["error_code"].as_u64());
            return Ok(Err(NoSuch {
                by_registry: code.is_some_and(|code| code == 404 || code / 100 == 404),
            }));
        }
        let message = String::from_utf8_lossy(&body);
        if status.is_server_error() {
            return Err(self.unavailable(format!("{status}: {message}")));
        }
        Err(self.refused(what(), format!("{status}: {message}")))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, RegistryError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|source| self.unavailable(source))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.unavailable(format!("its answer is longer than {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn refused(&self, what: String, message: String) -> RegistryError {
        RegistryError::Refused { url: self.url.clone(), what, message }
    }

    pub(super) fn path(&self, path: &str) -> String {
        format!("{}/{path}", self.url.as_str().trim_end_matches('/'))
    }
}
