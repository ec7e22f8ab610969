// What programs do with etcd3, a client for JavaScript: keys, transactions, watches, leases, locks, elections, users.
//
// Each job prints a heading and what it got, without ids and times: the test compares the lines of two servers.
'use strict'

const { Etcd3 } = require('etcd3')

const client = new Etcd3({ hosts: process.argv[2] })
const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const show = (what, ...got) => console.log(what, '|', ...got.map((one) => JSON.stringify(one)))

const fails = (what, call) =>
  call.then((got) => show(what, 'no error', got), (error) => show(what, error.constructor.name, error.message))

async function keys () {
  await client.put('kv/a').value('1')
  const before = await client.put('kv/a').value('grün €').getPrevious()
  show('put over', before.value.toString(), before.version)
  await client.put('kv/n').value(42)
  await client.put('kv/j').value(JSON.stringify({ a: [1, 2] }))
  show('string', await client.get('kv/a').string())
  show('number', await client.get('kv/n').number())
  show('json', await client.get('kv/j').json())
  show('missing', await client.get('kv/none'), await client.get('kv/none').exists())
  show('past', (await client.get('kv/a').revision(before.mod_revision)).toString())
  show('serializable', await client.get('kv/a').serializable(true).string())
  show('all', await client.getAll().prefix('kv/').strings())
  show('keys', await client.getAll().prefix('kv/').sort('Key', 'Descend').keys())
  show('two', await client.getAll().prefix('kv/').sort('Mod', 'Ascend').limit(2).keys())
  show('count', await client.getAll().prefix('kv/').count())
  show('range', await client.getAll().inRange({ start: 'kv/a', end: 'kv/k' }).keys())
  show('touch', (await client.put('kv/a').touch()).header !== undefined, await client.get('kv/a').string())
  const inside = client.namespace('kv/')
  show('namespace', await inside.get('n').number(), await inside.getAll().keys())
  show('gone', (await client.delete().key('kv/n').getPrevious()).map((kv) => kv.value.toString()))
  show('deleted', (await client.delete().prefix('kv/')).deleted)
  await fails('no key', client.put('').value('x').exec())
}

async function transactions () {
  await client.put('txn/a').value('1')
  for (let round = 0; round < 2; round++) {
    const answer = await client
      .if('txn/a', 'Value', '==', '1')
      .and('txn/a', 'Version', '>', 0)
      .and('txn/none', 'Create', '==', 0)
      .then(client.put('txn/a').value('2'), client.get('txn/a'))
      .else(client.get('txn/a'), client.delete().key('txn/a'))
      .commit()
    const got = answer.responses.flatMap((one) => (one.response_range ? one.response_range.kvs.map((kv) => kv.value.toString()) : []))
    show('round', answer.succeeded, answer.responses.length, got)
  }
  show('left', await client.get('txn/a'))
}

async function memory () {
  // Serializable snapshots, serializable, repeatable reads: the package gives its numbers no names that JavaScript sees.
  for (const isolation of [0, 1, 2]) {
    await client.put('stm/count').value(0)
    const add = () =>
      client.stm({ isolation, retries: 1000 }).transact(async (tx) => {
        const count = await tx.get('stm/count').number()
        await tx.put('stm/count').value(count + 1)
      })
    await Promise.all(Array.from({ length: 5 }, async () => {
      for (let time = 0; time < 5; time++) await add()
    }))
    show('counted', isolation, await client.get('stm/count').number())
  }
}

// What a watcher hears until it has heard so many events.
function heard (watcher, count) {
  return new Promise((resolve, reject) => {
    const seen = []
    const hear = (what) => (kv, previous) => {
      seen.push([what, kv.key.toString(), kv.value.toString(), previous && previous.value.toString()])
      if (seen.length === count) resolve(seen)
    }
    watcher.on('put', hear('put')).on('delete', hear('delete')).on('error', reject)
  })
}

async function watches () {
  const from = (await client.put('watch/a').value('0')).header.revision
  const watcher = await client.watch().prefix('watch/').withPreviousKV().create()
  const live = heard(watcher, 3)
  await client.put('watch/a').value('1')
  await client.delete().key('watch/a')
  await client.put('watch/b').value('2')
  show('live', await live)
  await watcher.cancel()
  const past = client.watch().prefix('watch/').startRevision(from).watcher()
  show('past', await heard(past, 4))
  await past.cancel()
  const only = client.watch().prefix('watch/').only('delete').startRevision(from).watcher()
  show('only deletions', await heard(only, 1))
  await only.cancel()
  const many = await Promise.all(Array.from({ length: 20 }, () => client.watch().key('watch/many').create()))
  const all = Promise.all(many.map((one) => heard(one, 1)))
  await client.put('watch/many').value('x')
  show('many', (await all).length)
  await Promise.all(many.map((one) => one.cancel()))
}

async function leases () {
  const kept = client.lease(5)
  await kept.put('lease/kept').value('x')
  const short = client.lease(2, { autoKeepAlive: false })
  await short.put('lease/short').value('x')
  show('once', (await kept.keepaliveOnce()).TTL, typeof (await kept.grant()))
  while (await client.get('lease/short').exists()) await later(20)
  show('ended', await client.get('lease/kept').string())
  // For longer than it would last by itself.
  await later(5500)
  show('kept', await client.get('lease/kept').string(), kept.revoked())
  await kept.revoke()
  show('revoked', await client.get('lease/kept').string(), kept.revoked())
  const lost = client.lease(100)
  const id = await lost.grant()
  const told = new Promise((resolve) => lost.on('lost', (error) => resolve(error.constructor.name)))
  await client.leaseClient.leaseRevoke({ ID: id })
  await fails('lost', lost.keepaliveOnce())
  show('told', await told)
}

async function locks () {
  const first = await client.lock('lock/a').ttl(10).acquire()
  show('held', typeof (await first.leaseId()))
  await fails('taken', client.lock('lock/a').ttl(10).acquire().then(() => 'held'))
  await first.release()
  show('done', await client.lock('lock/a').do(() => 'inside'))
  show('left', await client.getAll().prefix('lock/').count())
}

async function elections () {
  const election = client.election('job', 10)
  show('nobody', (await election.leader()) || 'nobody')
  const first = election.campaign('one')
  await first.wait()
  const observer = await election.observe()
  show('leads', await election.leader(), observer.leader())
  const next = () => new Promise((resolve) => observer.once('change', resolve))
  let change = next()
  await first.proclaim('one, still')
  show('proclaimed', await change)
  const second = election.campaign('two')
  const elected = second.wait()
  while ((await client.getAll().prefix('election/job/').count()) < 2) await later(10)
  change = next()
  await first.resign()
  await elected
  let seen = await change
  // That nobody leads for a moment may be seen, too.
  while (seen === undefined) seen = await next()
  show('leads', seen, await election.leader())
  await observer.cancel()
  await second.resign()
}

async function users () {
  const role = client.role('reads')
  await role.create()
  await role.grant({ permission: 'Read', range: client.range({ prefix: 'a' }) })
  show('role', (await role.permissions()).map((one) => one.permission))
  const user = client.user('js')
  await user.create('secret')
  await user.addRole('reads')
  show('user', (await user.roles()).map((one) => one.name))
  await fails('twice', user.create('secret'))
  await user.removeRole('reads')
  await user.delete()
  await role.delete()
  show('left', (await client.getRoles()).length, (await client.getUsers()).length)
}

async function maintenance () {
  const { members } = await client.cluster.memberList({})
  show('members', members.length, members[0].clientURLs.length)
  const status = await client.maintenance.status()
  show('leads', status.leader === status.header.member_id)
  show('alarms', (await client.maintenance.alarm({ action: 'Get', alarm: 'None' })).alarms)
  const [one, two] = [await client.maintenance.hash(), await client.maintenance.hash()]
  show('same hash', one.hash === two.hash)
  await fails('remove', client.cluster.memberRemove({ ID: '4711' }))
}

const jobs = [
  ['put and get: put, get, getAll, delete, namespace', keys],
  ['transaction: if, then, else', transactions],
  ['STM: stm, five at once', memory],
  ['watch: watch', watches],
  ['lease: lease, keepaliveOnce, revoke', leases],
  ['lock: lock', locks],
  ['election: campaign, observe, proclaim, resign', elections],
  ['users and roles, auth off: user, role', users],
  ['members and maintenance: cluster, maintenance', maintenance]
]

async function main () {
  for (const [heading, job] of jobs) {
    console.log('==', heading)
    await job()
  }
  client.close()
}

main().then(() => process.exit(0), (error) => {
  console.error(error)
  process.exit(1)
})
