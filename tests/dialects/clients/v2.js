// etcdjs as someone would use it: configuration, compare and swap, queues, directories, a follower.
// Prints what it got, one line for each thing done; the test compares the lines of two servers.
'use strict'

const store = require('etcdjs')(process.argv[2])

const call = (name, ...args) =>
  new Promise((resolve) => {
    store[name](...args, (error, result, next) => resolve({ error, result, next }))
  })

const show = (what, { error, result }) => {
  const failed = error && [error.message, error.code, error.reason, error.statusCode, error.headers]
  console.log(what, '|', JSON.stringify(failed || result, (key, value) => (key === 'expiration' ? 'later' : value)))
}

async function main () {
  show('set', await call('set', 'js/config/host', 'db1'))
  show('set again', await call('set', '/js/config/host', 'db2'))
  show('set text', await call('set', 'js/config/name', 'grün <&> \u20ac + "x"'))
  show('get', await call('get', 'js/config/host'))
  show('get text', await call('get', 'js/config/name'))
  show('missing', await call('get', 'js/nothing'))
  show('update', await call('update', 'js/config/host', 'db3'))
  show('update of what is missing', await call('update', 'js/other', 'x'))
  show('must not exist', await call('set', 'js/config/host', 'x', { prevExist: false }))
  show('swap', await call('compareAndSwap', 'js/config/host', 'db4', 'db3'))
  show('swap fails', await call('compareAndSwap', 'js/config/host', 'db5', 'db3'))
  show('with a time to live', await call('set', 'js/session', 's1', { ttl: 300 }))
  show('json', await call('set', 'js/json', { a: [1, 2] }, { json: true }))
  show('json back', await call('get', 'js/json', { json: true }))
  show('directory', await call('mkdir', 'js/dir'))
  show('again', await call('mkdir', 'js/dir'))
  const first = await call('push', 'js/queue', 'job1')
  show('push', first)
  show('push more', await call('push', 'js/queue', 'job2'))
  show('in order', await call('get', 'js/queue', { sorted: true, recursive: true }))
  show('directory that is not empty', await call('rmdir', 'js/queue'))
  const index = first.result.node.modifiedIndex
  show('from the past', await call('wait', 'js/queue', { recursive: true, waitIndex: index }))
  const since = (await call('set', 'js/followed', '0')).result.node.modifiedIndex
  const heard = new Promise((resolve) => {
    const seen = []
    store.wait('js/followed', { waitIndex: since + 1 }, function heard (error, result, next) {
      seen.push(error ? error.message : [result.action, result.node.value, result.node.modifiedIndex])
      if (error || seen.length === 3) return resolve(seen)
      next(heard)
    })
  })
  for (const value of ['1', '2', '3']) await call('set', 'js/followed', value)
  show('followed', { result: await heard })
  show('delete fails', await call('compareAndDelete', 'js/config/host', 'db3'))
  show('delete', await call('compareAndDelete', 'js/config/host', 'db4'))
  show('remove', await call('rmdir', 'js/dir'))
  show('delete all', await call('del', 'js', { recursive: true }))
  show('gone', await call('get', 'js'))
  process.exit(0)
}

main()
