//! Leases as the script's arguments and answers.

use std::sync::Arc;

use redis::ScriptInvocation;

use super::RedisStore;
use crate::stores::shared::{LEASE_TTL_MS, RECOVERY_MS, SharedError};
use crate::types::{Elsewhere, LeaseCall, LeaseReply, OnDeath, Replica};

/// Fields before the others' in an answer.
const HEAD: usize = 9;
/// Fields of each other.
const OTHER: usize = 5;

impl RedisStore {
    /// One run of the script.
    pub(super) async fn lease_batch(
        &self,
        replica: &Replica,
        calls: &[LeaseCall],
    ) -> Result<Vec<LeaseReply>, SharedError> {
        let mut run = self.lease.key(self.key("born"));
        for call in calls {
            run.key(self.key(&format!("pot:{}", call.pot)));
        }
        run.arg(&*replica.name)
            .arg(replica.incarnation)
            .arg(LEASE_TTL_MS)
            .arg(RECOVERY_MS);
        for call in calls {
            write(&mut run, call);
        }
        let mut connection = self.connection().await?;
        let answers: Vec<Vec<String>> = match run.invoke_async(&mut connection).await {
            Ok(answers) => answers,
            Err(error) => return Err(self.failed(&error).await),
        };
        if answers.len() != calls.len() {
            return Err(SharedError::Garbled(format!(
                "{} answers to {} calls",
                answers.len(),
                calls.len()
            )));
        }
        answers.iter().map(|fields| read(fields)).collect()
    }
}

fn write(run: &mut ScriptInvocation<'_>, call: &LeaseCall) {
    run.arg(match call.on_death {
        OnDeath::Charge => "charge",
        OnDeath::Free => "free",
    });
    run.arg(call.limit).arg(call.limit_version);
    run.arg(call.seq).arg(call.acked);
    run.arg(call.spent).arg(call.held).arg(call.want);
    run.arg(call.need).arg(call.weight);
    match call.base {
        Some(base) => run.arg(base),
        None => run.arg(""),
    };
    run.arg(u8::from(call.has_past)).arg(u8::from(call.leaving));
    run.arg(call.expires_ms);
    match &call.witness {
        None => {
            run.arg("").arg(0);
        }
        Some(witness) => {
            run.arg(witness.base).arg(witness.others.len());
            for other in &witness.others {
                run.arg(&*other.replica).arg(other.spent).arg(other.granted);
            }
        }
    }
}

fn read(fields: &[String]) -> Result<LeaseReply, SharedError> {
    let garbled = || SharedError::Garbled(format!("an answer of {} fields", fields.len()));
    let (head, others) = fields.split_at_checked(HEAD).ok_or_else(garbled)?;
    let number = |field: &String| field.parse::<u64>().map_err(|_| garbled());
    let flag = |field: &String| field == "1";
    let others = others.chunks(OTHER).map(|other| match other {
        [replica, spent, granted, weight, live] => Ok(Elsewhere {
            replica: Arc::from(replica.as_str()),
            spent: number(spent)?,
            granted: number(granted)?,
            weight: number(weight)?,
            live: flag(live),
        }),
        _ => Err(garbled()),
    });
    Ok(LeaseReply {
        seq: number(&head[0])?,
        granted: number(&head[1])?,
        limit: number(&head[2])?,
        base: number(&head[3])?,
        recovering: flag(&head[4]),
        hungry: flag(&head[5]),
        forgot: flag(&head[6]),
        created: flag(&head[7]),
        stale: flag(&head[8]),
        others: others.collect::<Result<_, _>>()?,
    })
}
