# SPDX-License-Identifier: BSD-3-Clause
# bash completion of tripod-lab

_tripod_lab() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb='' name=lab i
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--)
			# The rest is another program's command line.
			if declare -F _command_offset >/dev/null && [ "$verb" = exec ]; then
				_command_offset $((i + 1))
			else
				mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			fi
			return
			;;
		--name) name=${COMP_WORDS[i + 1]} ;;
		-*) ;;
		*) [ -n "$verb" ] || verb=${COMP_WORDS[i]} ;;
		esac
	done

	case $prev in
	--name)
		mapfile -t COMPREPLY < <(compgen -W "$(ls /run/tripod-lab 2>/dev/null)" -- "$cur")
		return
		;;
	--mode)
		mapfile -t COMPREPLY < <(compgen -W "tripod baseline" -- "$cur")
		return
		;;
	--hash)
		mapfile -t COMPREPLY < <(compgen -W "outside-endpoint symmetric 5-tuple" -- "$cur")
		return
		;;
	--model)
		mapfile -t COMPREPLY < <(compgen -W "resilient two-stage" -- "$cur")
		return
		;;
	--how)
		mapfile -t COMPREPLY < <(compgen -W "kill freeze link" -- "$cur")
		return
		;;
	--durability)
		mapfile -t COMPREPLY < <(compgen -W "async sync" -- "$cur")
		return
		;;
	--config)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--nodes | --workers | --detect-ms | --backups | --start | --wait | --flows | --seed)
		return
		;;
	esac

	local words=--help nodes='' roles='' ns
	for ns in /run/netns/"tl-$name-"*; do
		[ -e "$ns" ] || continue
		roles+=" ${ns##*-}"
		[[ $ns == *-node* ]] && nodes+=" ${ns##*-node}"
	done
	case $verb in
	"") words="up down status list exec kill restore drain undrain stop add remove rolling-restart predict-check logs capture --help --version" ;;
	up) words+=" --name --nodes --mode --hash --model --config --workers --detect-ms --backups --durability --start --wait" ;;
	down) words+=" --name --all" ;;
	status) words+=" --name --json" ;;
	list) words+=" --json" ;;
	exec) words+=" --name -- $roles" ;;
	kill) words+=" --name --how $nodes" ;;
	restore) words+=" --name --no-wait --wait $nodes" ;;
	drain) words+=" --name --wait --json $nodes" ;;
	undrain | stop | remove) words+=" --name $nodes" ;;
	add) words+=" --name --no-wait --wait" ;;
	rolling-restart) words+=" --name --wait --json" ;;
	predict-check) words+=" --name --flows --seed --json" ;;
	logs) words+=" --name --follow $nodes switch" ;;
	capture) words+=" --name -- $roles" ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	if [ "$verb" = capture ] && [ "${#COMPREPLY[@]}" -eq 0 ]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}
complete -F _tripod_lab tripod-lab
