//! What is around a replicator: swarm, router, shard, storage and library, as the tests want them to be.

use super::*;

/// Swarm, router, shard, storage and library of one node.
pub(super) struct Surroundings {
    pub id: NodeId,
    pub sites: Sites,
    pub held: Vec<Responder<<Send as Message>::Reply>>,
    pub reads: Vec<Responder<<Read as Message>::Reply>>,
}

impl Surroundings {
    fn at<T>(&self, id: &NodeId, work: impl FnOnce(&mut Site) -> T) -> T {
        work(self.sites.lock().expect("unpoisoned").get_mut(id).expect("there is such a node"))
    }

    fn here<T>(&self, work: impl FnOnce(&mut Site) -> T) -> T {
        self.at(&self.id, work)
    }

    fn deliver(
        &self,
        to: &NodeId,
        ask: Ask,
        responder: Responder<<Send as Message>::Reply>,
        context: &mut Context<Self>,
    ) {
        let Ask::Compare { items } = ask else {
            return responder.answer(Ok(self.at(to, |site| site.serve(&ask))));
        };
        let (door, boasts) = self.at(to, |site| {
            site.largest_comparison = site.largest_comparison.max(items.len());
            site.compared.extend(items.iter().cloned());
            (site.env.compare.clone(), site.manner == Manner::Boasts)
        });
        if boasts {
            let newer = items.into_iter().map(|item| item.key).collect();
            return responder.answer(Ok(Answer::Compared { wanted: Vec::new(), newer, declined: Vec::new() }));
        }
        let from = Arc::new(Caller::node(&self.id));
        let answer = async move { door.call(Compare { from, items }).await };
        context.then(answer, |_, answer, _| responder.answer(answer.map_err(|_| SendError::Closed)));
    }
}

impl Actor for Surroundings {}

impl Handler<Adopt> for Surroundings {
    fn handle(&mut self, adopt: Adopt, responder: Responder<Option<Arc<Record>>>, _: &mut Context<Self>) {
        let sign = |record: &mut Arc<Record>| {
            *record = Arc::new(Record { provenance: plain(1).provenance, ..Record::clone(record) });
            record.clone()
        };
        responder.answer(self.here(|site| site.records.get_mut(&adopt.key).map(sign)));
    }
}

impl Handler<Send> for Surroundings {
    fn handle(&mut self, send: Send, responder: Responder<<Send as Message>::Reply>, context: &mut Context<Self>) {
        assert!(send.bulk, "nothing small waits behind replication");
        let busy = self.at(&send.to, |site| {
            let busy = site.busy > 0 || site.manner == Manner::Overworked;
            site.busy = site.busy.saturating_sub(1);
            busy
        });
        if busy {
            return responder.answer(Err(SendError::Busy));
        }
        let dead = self.here(|site| site.manner == Manner::Dead);
        match self.at(&send.to, |site| site.manner) {
            _ if dead => responder.answer(Err(SendError::Unreachable("this node is dead".into()))),
            Manner::Dead => responder.answer(Err(SendError::Unreachable("it is dead".into()))),
            Manner::Mute => self.held.push(responder),
            manner => {
                let turns = if manner == Manner::Slow { 300 } else { 3 };
                // What is asked at once shows how much is under way.
                self.at(&send.to, |site| {
                    site.asked += 1;
                    site.most_asked = site.most_asked.max(site.asked);
                });
                let wait = async move {
                    for _ in 0..turns {
                        tokio::task::yield_now().await;
                    }
                };
                context.then(wait, move |surroundings, (), context| {
                    surroundings.at(&send.to, |site| site.asked -= 1);
                    surroundings.deliver(&send.to, send.ask, responder, context);
                });
            }
        }
    }
}

impl Handler<Find> for Surroundings {
    fn handle(&mut self, find: Find, responder: Responder<Vec<Arc<Neighbour>>>, _: &mut Context<Self>) {
        let sites = self.sites.lock().expect("unpoisoned");
        let living = sites.values().filter(|site| site.manner != Manner::Dead);
        let nodes: Vec<_> = living.filter_map(|site| site.env.service.neighbours.own()).collect();
        drop(sites);
        self.here(|site| site.env.tally.look_ups.add(1));
        responder.answer(World::nearest(&nodes, &find.key, find.n));
    }
}

impl Handler<Serve> for Surroundings {
    fn handle(&mut self, serve: Serve, responder: Responder<Answer>, _: &mut Context<Self>) {
        responder.answer(self.here(|site| site.serve(&serve.ask)));
    }
}

impl Handler<Call> for Surroundings {
    fn handle(&mut self, call: Call, responder: Responder<<Call as Message>::Reply>, _: &mut Context<Self>) {
        let reply = self.here(|site| match call.op {
            Op::Copy => site.records.get(&call.key).cloned().map_or(Reply::Absent, Reply::Plain),
            Op::Drop { version } => {
                let drops = site.records.get(&call.key).is_some_and(|record| record.version == version);
                if drops {
                    site.records.remove(&call.key);
                }
                Reply::Value(Value::Bool(drops))
            }
            other => panic!("the replicator has no use for {}", other.name()),
        });
        responder.answer(Ok(reply));
    }
}

impl Handler<Scan> for Surroundings {
    fn handle(&mut self, scan: Scan, responder: Responder<<Scan as Message>::Reply>, _: &mut Context<Self>) {
        let page = self.here(|site| {
            if site.broken_disk {
                return Err(storage::ReadError::Failed("the disk is broken".into()));
            }
            site.pages += 1;
            let behind = site.records.iter().filter(|(key, _)| scan.after.as_ref().is_none_or(|after| *key > after));
            let mut items: Vec<_> =
                behind.take(scan.limit + 1).map(|(key, record)| (key.clone(), record.clone())).collect();
            let more = items.len() > scan.limit;
            items.truncate(scan.limit);
            let next = items.last().filter(|_| more).map(|(key, _)| key.clone());
            Ok(Page { items, next })
        });
        responder.answer(page);
    }
}

impl Handler<Read> for Surroundings {
    fn handle(&mut self, read: Read, responder: Responder<<Read as Message>::Reply>, _: &mut Context<Self>) {
        if self.here(|site| site.hung_disk) {
            return self.reads.push(responder);
        }
        responder.answer(self.here(|site| {
            let failed = || Err(storage::ReadError::Failed("the disk is broken".into()));
            if site.broken_disk { failed() } else { Ok(site.records.get(&read.key).cloned()) }
        }));
    }
}

impl Handler<ReadStatus> for Surroundings {
    fn handle(&mut self, _: ReadStatus, responder: Responder<Status>, _: &mut Context<Self>) {
        let damaged_places = self.here(|site| site.damaged_places);
        responder.answer(Status { damaged_places, ..Status::default() });
    }
}

impl Handler<Describe> for Surroundings {
    fn handle(
        &mut self,
        describe: Describe,
        responder: Responder<<Describe as Message>::Reply>,
        _: &mut Context<Self>,
    ) {
        let merges = describe.hash == ScriptHash::of("merging");
        responder.answer(Ok(Some(Description { source: "".into(), merges, publisher: None })));
    }
}
