//! Draws from shared rates as the script's arguments and answers.

use super::RedisStore;
use crate::stores::shared::{LEASE_TTL_MS, SharedError};
use crate::types::{DrawCall, DrawReply, Replica};

impl RedisStore {
    /// One run of the script.
    pub(super) async fn draw_batch(
        &self,
        replica: &Replica,
        calls: &[DrawCall],
    ) -> Result<Vec<DrawReply>, SharedError> {
        let mut run = self.draw.prepare_invoke();
        for call in calls {
            run.key(self.key(&format!("rate:{}", call.pot)));
        }
        run.arg(&*replica.name).arg(LEASE_TTL_MS);
        for call in calls {
            run.arg(call.rate).arg(call.burst).arg(call.held);
            run.arg(call.want).arg(call.need).arg(call.weight);
            run.arg(call.back);
        }
        let mut connection = self.connection().await?;
        let answers: Vec<[String; 3]> = match run.invoke_async(&mut connection).await {
            Ok(answers) => answers,
            Err(error) => return Err(self.failed(&error).await),
        };
        if answers.len() != calls.len() {
            let (got, asked) = (answers.len(), calls.len());
            return Err(SharedError::Garbled(format!(
                "{got} answers to {asked} draws"
            )));
        }
        answers.iter().map(read).collect()
    }
}

fn read([granted, weights, live]: &[String; 3]) -> Result<DrawReply, SharedError> {
    let number = |field: &String| {
        field
            .parse::<u64>()
            .map_err(|_| SharedError::Garbled("an answer to a draw".to_owned()))
    };
    Ok(DrawReply {
        granted: number(granted)?,
        weights: number(weights)?,
        live: number(live)?,
    })
}
