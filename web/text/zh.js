// The texts in Chinese. The keys are those of the English ones, but for counts of one, which Chinese says alike.

export const texts = {
  changes: {
    clear: "清空", count: "{count} 条变更", gap: "此修订之前的变更已无法得知：历史已被压缩。", held: "已暂停，{count} 条等待显示", none: "打开此页后尚无变更。变更发生时会立即显示在这里。", pause: "暂停",
    prefix: "键的前缀…", resume: "继续", table: "变更，最新的在前",
  },
  chart: { latency: "请求平均耗时", most: "最高 {value}", perSecond: "{value} / 秒", requests: "请求", revisions: "修订", watchers: "监视" },
  cluster: { here: "此成员", members: "成员", nobody: "无", this: "当前", unwatched: "此处没有监视。", watches: "此成员上的监视" },
  column: {
    address: "地址", agent: "用户代理", behind: "落后修订数", carrier: "方式", change: "变更", cluster: "集群", compacted: "已压缩至", created: "创建于", free: "磁盘剩余",
    granted: "授予", holder: "持有者", id: "租约", instance: "实例", instances: "实例数", kind: "类型", lag: "滞后条目", leader: "领导者", lease: "剩余时间", lock: "锁",
    log: "日志", member: "成员", name: "键", owner: "所有者", passing: "正常", place: "位置", release: "版本号", revision: "修订", role: "角色", room: "空间",
    service: "服务", since: "开始于", size: "大小", state: "状态", store: "存储", tags: "标签", term: "任期", time: "时间", token: "防护令牌", type: "媒体类型", uptime: "已运行",
    urls: "客户端地址", version: "版本", waiting: "等待", watched: "监视的键", weight: "权重",
  },
  conflict: {
    again: "用您的内容重新创建", before: "之前", cut: "仅显示开头部分。", deleted: "已删除", leave: "保持删除", merge: "合并并继续编辑", mergeMarked: "合并并继续编辑，标出 {count} 处冲突",
    mine: "用您的内容替换修订 {revision}", now: "现在", text: "您编辑期间，有人写入了修订 {revision}。没有任何内容被覆盖。", textGone: "您编辑期间，有人删除了这个键。没有写入任何内容。", theirs: "保留对方的",
    title: "键已被更改", titleGone: "键已被删除", yours: "您的",
  },
  copy: { done: "已复制", title: "复制以下内容" },
  create: {
    append: "按序添加", appendHint: "键以此目录的下一个序号命名，因此按被接受的顺序排列。", directory: "新建目录", directoryHint: "斜杠表示下级目录。", do: "创建", key: "新建键",
    made: "已创建 {name}。", name: "在 {directory} 中的名称", nameHint: "斜杠表示目录。", open: "打开", ttl: "存活时间", ttlHint: "留空则一直保留；否则如 30s、10m、1h30m。",
  },
  crumbs: { label: "当前位置" },
  dialog: { cancel: "取消", done: "完成" },
  diff: { equal: "两者相同。", folded: "{count} 行相同", label: "差异" },
  directory: {
    absent: "没有这个目录。其中有键时它就会出现。", all: "全部下级", count: "共 {count} 项", depth: "显示范围", empty: "这里是空的。",
    first: "还没有键。在这里创建第一个，或使用 curl -X PUT …/v1/keys/greeting -d hello", hasMarker: "目录本身有值。", level: "当前层", marker: "目录自身的值", openMarker: "作为键打开",
    part: "已载入 {count} / {total}", table: "键和目录",
  },
  document: {
    itself: "成员 \"\" 是其对象的键的值，不能是对象。", large: "键多于 100,000 个：请使用 vardr export 或 vardr import。", object: "文档不是对象：没有可作为键的名称。",
    top: "文档顶层的成员 \"\" 没有对应的键。", twice: "文档重复命名了一个键。", zip: "文件多于 65,535 个或超过 4 GiB，ZIP 归档容纳不下：请使用 vardr export。",
  },
  editor: {
    asJson: "保存为 JSON。", away: "离开", changed: "期间有人写入了修订 {revision}。", compare: "比较", discard: "放弃更改", format: "排版", gone: "期间有人删除了这个键。",
    leave: "不保存就离开？", noType: "无媒体类型", save: "保存", saved: "{name} 已保存为修订 {revision}。", saving: "保存尚未完成，要离开吗？", told: "完成后会有通知告知结果。",
    unsaved: "对此值的更改尚未保存。",
  },
  export: { action: "导出…", hint: "一个文档，或一个文件夹（每个键一个文件），打包为 ZIP 归档。", read: "已读取 {count} 个键…", title: "导出", zip: "文件夹 (ZIP)" },
  form: {
    "bad.base64": "这不是 base64。", "bad.hex": "这不是十六进制：每个字节两位。", "bad.json": "文件不是 UTF-8。", "bad.text": "此值不能作为文本编辑：它不是 UTF-8，或含有浏览器会改变的换行符。",
    base64: "Base64", hex: "十六进制", json: "JSON", text: "文本", yaml: "YAML",
  },
  help: {
    docs: "API 文档", edit: "编辑打开的键", escape: "关闭，或停止编辑", fold: "展开和折叠树中的目录", help: "此列表", open: "打开该行", rows: "在树和表格中移动", save: "保存", search: "转到搜索框",
    title: "键盘",
  },
  history: {
    a: "从修订 {revision} 起比较", at: "修订 {revision}", b: "比较到修订 {revision}", back: "恢复…", backTo: "恢复… 修订 {revision}", list: "版本，最新的在前", more: "更早的版本",
    nothing: "之前没有",
  },
  import: {
    action: "导入…", changed: "将被更改", counts: "新增 {fresh} 个，更改 {changed} 个，{same} 个无需更改：", document: "文档…", done: "已导入 {count} 个键。", folder: "文件夹…",
    hint: "JSON 或 YAML 文档，或一个文件夹（其中每个文件成为一个键）。也可以拖放到这里。", left: "导入已中止。已写入 {count} 个键。", new: "将被创建", steps: "分 {count} 个事务。",
    stopped: "预览之后有人更改了其中的键。此前已写入 {count} 个键；请重新选择。", title: "导入",
  },
  json: {
    colon: "缺少冒号", comma: "缺少逗号或右括号", count: "{count} 项", deep: "嵌套过深", end: "过早结束", error: "不是有效的 JSON，第 {line} 行第 {column} 列：{reason}。",
    more: "还有 {count} 项", name: "缺少带引号的名称", rest: "结尾之后还有内容", string: "字符串格式不正确", value: "值缺失或格式不正确",
  },
  key: { absent: "没有这个键。", create: "创建它", curl: "复制为 curl", download: "下载", edit: "编辑", history: "历史", tabs: "键的各部分", upload: "上传…", value: "值" },
  keys: { top: "所有键" },
  lease: {
    change: "存活时间…", held: "有租约", hint: "如 30s、10m、1h30m。值会作为新修订再写入一次。", none: "这个键会一直保留，直到被删除。", now: "这个键随租约 {lease} 消失，若不续约还有 {left}。",
    remove: "一直保留", set: "设置",
  },
  leases: { keys: "租约的键", none: "没有租约。", own: "单个键", revoke: "结束租约并删除这些键", shared: "共享", with: "{count} 个键随它消失。" },
  left: {
    count: "已略过 {count} 个：", directory: "它也是目录", document: "名称无法写入文档", key: "键最多 4,096 字节", large: "超过服务器接受的大小", name: "文件不能如此命名", title: "已略过",
    utf8: "名称不是 UTF-8", value: "目录不能有值",
  },
  list: { again: "重试", loading: "载入中…" },
  live: {
    connecting: "连接中", "connecting.hint": "正在连接服务器", live: "实时", "live.hint": "变更发生时立即显示", lost: "已断开",
    "lost.hint": "无法连接服务器。显示的内容可能已过时；控制台会自动重试，按下此处可立即重试。", resting: "休眠", "resting.hint": "此页已有一段时间无人查看；再次查看时会继续",
  },
  locks: {
    dots: "锁的名称不能是 . 或 ..", free: "没有人持有此锁。", held: "锁已被持有；{count} 个在等待。", holds: "持有", none: "没有被持有的锁。", prefix: "名称开头为…的锁", queue: "持有者和队列",
    title: "锁", waits: "等待",
  },
  move: {
    action: "移动或复制…", copied: "已复制 {count} 个键，修订 {revision}，覆盖 {overwritten} 个。", copy: "复制", counts: "将写入 {count} 个键：",
    countsThere: "将写入 {count} 个键，其中 {there} 个已存在：", do: "移动", hintDirectory: "下级的一切随之移动或复制，作为一个新修订。", leases: "移动的键保留存活时间；复制的键没有。",
    misspelled: "这里的 \\ 之后应是 x 和两位十六进制数字，或另一个 \\。", moved: "已移动 {count} 个键，修订 {revision}，覆盖 {overwritten} 个。", overwrite: "覆盖已存在的键",
    same: "现在就是这个名称。", spelling: "\\xff 表示一个字节，\\\\ 表示反斜杠。", there: "已存在，将被覆盖", title: "移动或复制", to: "新名称",
  },
  nav: { changes: "变更", cluster: "集群", keys: "键", label: "页面", leases: "租约", search: "搜索", services: "服务", skip: "跳到内容" },
  notice: { done: "{what}：已完成。", failed: "{what}：{why}" },
  operation: {
    append: "按序添加", copy: "复制", create: "创建", createDirectory: "创建目录", delete: "删除", expire: "过期", increment: "计数", move: "移动", patch: "补丁",
    put: "写入", revoke: "随租约消失", rollback: "回滚", transaction: "事务",
  },
  page: { outdated: "无法载入此页。服务器可能无法连接，或比这里打开的版本更新。", reload: "重新载入", unknown: "没有这个页面。" },
  pages: { back: "上一页", on: "下一页" },
  problem: { unreachable: "无法连接服务器。", unsure: "无法连接服务器。更改可能已生效，也可能没有：重试之前请先查看。" },
  remove: {
    action: "删除…", all: "全部删除", below: "将删除 {count} 个键：", changed: "这个键在显示之后已被更改。请先再看一遍。", directory: "删除目录", done: "已删除 {count} 个键。",
    empty: "目录是空的。", facts: "修订 {revision}，{size}", kept: "只要历史仍被保留，就可以从历史中恢复。", key: "删除键", more: "还有 {count} 个", preview: "将被删除的键",
  },
  role: { leader: "领导者", learner: "学习者", voter: "投票者" },
  rollback: {
    action: "回滚…", counts: "恢复 {restored} 个，删除 {deleted} 个：", done: "已回滚为修订 {revision}：恢复 {restored} 个，删除 {deleted} 个。", gone: "将被删除",
    hint: "键将作为新修订恢复到当时的状态。", hintDirectory: "下级的一切将作为一个新修订恢复到当时的状态。", new: "将被恢复", nothing: "不会有任何改变。", preview: "将发生的改变", title: "回滚", to: "到修订",
  },
  room: { enough: "充足", none: "无", short: "不足" },
  search: {
    below: "位于", done: "在 {count} 个键中找到 {found} 个", found: "找到的键", looking: "找到 {found} 个，已查看 {count} 个键…", nothing: "没有键的名称或值包含此文本。",
    nothingYet: "尚未找到。", offers: "以此开头的键", on: "继续查找", placeholder: "转到键，或搜索", stop: "停止", stopped: "在前 {count} 个键中找到 {found} 个", text: "名称或值中的文本",
  },
  services: { noInstances: "此服务没有已注册的实例。", none: "没有已注册的服务。实例通过 PUT /v1/services/{service}/{instance} 注册。", stays: "保留" },
  state: { heard: "在线", silent: "无响应" },
  status: { critical: "严重", draining: "排空中", passing: "正常", warning: "警告" },
  theme: { other: "浅色或深色" },
  tree: { empty: "还没有键。", label: "键的树", toggle: "显示或隐藏树" },
  value: { empty: "值为空。", form: "显示为", whole: "全部显示，{size}" },
};
